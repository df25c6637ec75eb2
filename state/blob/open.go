package blob

import (
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"strings"
)

// A Scheme opens the stores of one kind of URL.
type Scheme struct {
	// Name is the part before "://", as in "s3".
	Name string
	// Open returns the store at u. The store need not be there yet.
	Open func(u *url.URL) (Store, error)
}

// Open returns the store at a URL: file:///dir, or a plain path, which may be
// relative. Other kinds are what more adds. key is the setting that the URL
// comes from; errors begin with it. A folder that is not there is made by the
// first Put, not before.
func Open(key, location string, more ...Scheme) (Store, error) {
	fail := func(format string, args ...any) (Store, error) {
		return nil, fmt.Errorf("%s: %q: %w", key, location, fmt.Errorf(format, args...))
	}
	if strings.TrimSpace(location) == "" {
		return nil, fmt.Errorf("%s: not set; want a folder as a path or a URL like file:///var/checkpoints", key)
	}
	scheme, rest, isURL := strings.Cut(location, "://")
	if !isURL {
		if scheme, _, ok := strings.Cut(location, ":/"); ok && !strings.ContainsAny(scheme, `/\.`) {
			return fail("a URL has two slashes after the colon, as in %s:///", scheme)
		}
		dir, err := filepath.Abs(location)
		if err != nil {
			return fail("%w", err)
		}
		return NewFile(dir), nil
	}
	if scheme == "file" {
		u, err := url.Parse(location)
		switch {
		case err != nil:
			return fail("%w", errors.Unwrap(err))
		case u.Host != "" && u.Host != "localhost":
			return fail("%q is read as a host; an absolute path has three slashes, as in file:///%s", u.Host, rest)
		case u.RawQuery != "" || u.Fragment != "":
			return fail("a file URL has no ? or # part")
		case u.Path == "":
			return fail("no path; want file:///dir")
		}
		return NewFile(filepath.FromSlash(u.Path)), nil
	}
	names := []string{"file"}
	for _, s := range more {
		if s.Name != scheme {
			names = append(names, s.Name)
			continue
		}
		u, err := url.Parse(location)
		if err != nil {
			return fail("%w", errors.Unwrap(err))
		}
		st, err := s.Open(u)
		if err != nil {
			return fail("%w", err)
		}
		return st, nil
	}
	return fail("no store for %s:// in this program; it has %s", scheme, strings.Join(names, ", "))
}
