package millrace

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// params are a job's parameters: what was given, and what the program asked for.
type params struct {
	given map[string]string
	asked []param
	errs  []error
}

type param struct{ name, def, usage string }

// Param declares a parameter of the program and returns its value: what
// --name said on the command line (or [RunOptions] Params), else def. The
// parameters a program declares are listed by --help; any other is refused.
func (j *Job) Param(name, def, usage string) string {
	for _, reserved := range mainFlags {
		if name == reserved.name {
			j.g.Fail(caller(), "parameter %q: --%s is taken by every job", name, name)
		}
	}
	j.params.asked = append(j.params.asked, param{name, def, usage})
	if v, ok := j.params.given[name]; ok {
		return v
	}
	return def
}

// ParamInt is [Job.Param] for an integer.
func (j *Job) ParamInt(name string, def int64, usage string) int64 {
	s := j.Param(name, strconv.FormatInt(def, 10), usage)
	v, err := strconv.ParseInt(strings.ReplaceAll(s, "_", ""), 10, 64)
	if err != nil {
		j.params.errs = append(j.params.errs, fmt.Errorf("--%s %q is not an integer", name, s))
		return def
	}
	return v
}

// ParamDuration is [Job.Param] for a duration such as 90s or 1h30m.
func (j *Job) ParamDuration(name string, def time.Duration, usage string) time.Duration {
	s := j.Param(name, def.String(), usage)
	v, err := time.ParseDuration(s)
	if err != nil {
		j.params.errs = append(j.params.errs, fmt.Errorf("--%s %q is not a duration such as 90s or 1h30m", name, s))
		return def
	}
	return v
}

// ParamBool is [Job.Param] for true or false; --name alone means true.
func (j *Job) ParamBool(name string, def bool, usage string) bool {
	s := j.Param(name, strconv.FormatBool(def), usage)
	v, err := strconv.ParseBool(s)
	if err != nil {
		j.params.errs = append(j.params.errs, fmt.Errorf("--%s %q is neither true nor false", name, s))
		return def
	}
	return v
}

// check reports bad values and parameters nobody asked for.
func (p *params) check() error {
	errs := slices.Clone(p.errs)
	var unknown []string
	for name := range p.given {
		if !slices.ContainsFunc(p.asked, func(a param) bool { return a.name == name }) {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	for _, name := range unknown {
		errs = append(errs, fmt.Errorf("unknown parameter --%s; --help lists what there is", name))
	}
	return errors.Join(errs...)
}
