package millrace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/millrace/millrace/engine/checkpoint"
	"github.com/millrace/millrace/engine/local"
	"github.com/millrace/millrace/engine/restart"
	"github.com/millrace/millrace/state/blob"
	"github.com/millrace/millrace/state/snapshot"
)

// The settings that decide whether a job takes checkpoints.
const (
	keyCheckpointDir = "execution.checkpointing.dir"
	keyInterval      = "execution.checkpointing.interval"
	keyRetention     = "execution.checkpointing.externalized-checkpoint-retention"
	keyFrom          = "execution.state-recovery.path"
	keyAllowLeftOver = "execution.state-recovery.ignore-unclaimed-state"
)

// checkpoints reads how a job's state is kept; nil if it is not.
func checkpoints(ctx context.Context, job string, settings map[string]string, store blob.Store) (*local.Checkpoints, error) {
	if len(settings) == 0 {
		return nil, nil
	}
	for key := range settings {
		if !slices.ContainsFunc([]string{"execution.checkpointing.", "execution.state-recovery.", "restart-strategy", "state."},
			func(prefix string) bool { return strings.HasPrefix(key, prefix) }) {
			return nil, fmt.Errorf("setting %s is not known", key)
		}
	}
	config, _, err := checkpoint.Parse(settings)
	if err != nil {
		return nil, err
	}
	restarts, _, rerr := restart.Parse(settings, config.Interval > 0)
	if rerr != nil {
		return nil, rerr
	}
	switch {
	case config.Storage.Dir == "" && store == nil && config.Interval == 0 && settings[keyFrom] == "":
		if restarts.Kind != restart.None {
			return nil, fmt.Errorf("restart-strategy needs checkpoints, or a job that is restarted begins anew and repeats what it has written: set %s and %s", keyInterval, keyCheckpointDir)
		}
		return nil, nil
	case config.Storage.Dir == "" && store == nil:
		return nil, fmt.Errorf("set %s to the folder that checkpoints go to", keyCheckpointDir)
	case config.Interval == 0:
		return nil, fmt.Errorf("set %s to the time between checkpoints, such as 10s", keyInterval)
	}
	if settings[keyRetention] == "" {
		config.Retention = checkpoint.RetainOnCancellation
	}
	c := &local.Checkpoints{Config: config, Restart: restarts, Dir: folderName(job)}
	if c.Store = store; store == nil {
		if c.Store, err = blob.Open(keyCheckpointDir, config.Storage.Dir); err != nil {
			return nil, err
		}
	}
	switch v := settings[keyAllowLeftOver]; v {
	case "", "false":
	case "true":
		c.AllowNonRestored = true
	default:
		return nil, fmt.Errorf("%s: %q is neither true nor false", keyAllowLeftOver, v)
	}
	if path := settings[keyFrom]; path != "" {
		store, dir, err := snapshot.Locate(keyFrom, path)
		if err != nil {
			return nil, err
		}
		if c.From, err = snapshot.Open(ctx, store, dir); err != nil {
			return nil, fmt.Errorf("%s: %w", keyFrom, err)
		}
	}
	return c, nil
}

// folderName makes a job's name one of a folder.
func folderName(job string) string {
	s := strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.' {
			return r
		}
		return '-'
	}, job)
	if s = strings.TrimLeft(s, "."); s == "" {
		return "job"
	}
	return s
}

// setting takes Key=value of -DKey=value.
func setting(into map[string]string, arg string) error {
	key, value, ok := strings.Cut(arg, "=")
	if !ok || key == "" {
		return errors.New("-D" + arg + ": settings look like -Dkey=value")
	}
	if _, twice := into[key]; twice {
		return fmt.Errorf("setting %s is given twice", key)
	}
	into[key] = value
	return nil
}
