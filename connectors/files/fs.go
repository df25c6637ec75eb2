// Package files reads and writes files: it finds the files of a location,
// cuts them into splits that are read in parallel, and gives files that are
// written their places and names. What is inside a file is for the packages
// below connectors/format to say.
package files

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// A FileSystem holds files under slash-separated names. It is used by several
// goroutines at once. Errors name the file, as those of package os do, and
// match fs.ErrNotExist and fs.ErrExist where that is what is wrong.
type FileSystem interface {
	// Open opens a file for reading.
	Open(name string) (File, error)
	// Create creates a file for writing; it is an error if it exists.
	Create(name string) (FileWriter, error)
	// Rename moves a file within the file system, at once, replacing what has
	// the new name.
	Rename(from, to string) error
	// Remove removes a file, or a directory that is empty; one that is not is
	// an error.
	Remove(name string) error
	// SyncDir returns when the names in a directory would survive a crash as
	// they are: those of files created in it and renamed into it.
	SyncDir(dir string) error
	// List lists what is in a directory, sorted by name.
	List(dir string) ([]Entry, error)
	// Stat describes one name.
	Stat(name string) (Entry, error)
	// MkdirAll makes a directory and those above it where they are missing,
	// durably.
	MkdirAll(dir string) error
}

// File is an open file to read. Its size is that at the time of the call.
type File interface {
	io.ReaderAt
	io.Closer
	Size() (int64, error)
}

// FileWriter is a file being written.
type FileWriter interface {
	io.Writer
	io.Closer
	// Sync returns when what was written would survive a crash, if the file's
	// name does.
	Sync() error
}

// Entry is a name in a directory.
type Entry struct {
	Name string // the last element only
	Dir  bool
	Size int64
}

// Local is the file system of this machine.
type Local struct{}

var _ FileSystem = Local{}

type localFile struct{ *os.File }

func (f localFile) Size() (int64, error) {
	st, err := f.Stat()
	if err != nil {
		return 0, err
	}
	return st.Size(), nil
}

// Open opens a file for reading.
func (Local) Open(name string) (File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return localFile{f}, nil
}

// Create creates a file for writing.
func (Local) Create(name string) (FileWriter, error) {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// SyncDir makes the names in a directory durable.
func (Local) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// Rename moves a file.
func (Local) Rename(from, to string) error { return os.Rename(from, to) }

// Remove removes a file or an empty directory.
func (Local) Remove(name string) error { return os.Remove(name) }

// List lists a directory.
func (Local) List(dir string) ([]Entry, error) {
	des, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	es := make([]Entry, 0, len(des))
	for _, de := range des {
		// Stat follows links, which name files like any other entry.
		st, err := os.Stat(filepath.Join(dir, de.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // gone since, or a link to nowhere
		}
		if err != nil {
			return nil, err
		}
		es = append(es, Entry{de.Name(), st.IsDir(), st.Size()})
	}
	return es, nil
}

// Stat describes one name.
func (Local) Stat(name string) (Entry, error) {
	st, err := os.Stat(name)
	if err != nil {
		return Entry{}, err
	}
	return Entry{st.Name(), st.IsDir(), st.Size()}, nil
}

// MkdirAll makes a directory and those above it, durably.
func (l Local) MkdirAll(dir string) error {
	var missing []string
	for d := filepath.Clean(dir); ; d = filepath.Dir(d) {
		if _, err := os.Stat(d); !errors.Is(err, fs.ErrNotExist) {
			break // there, or for os.MkdirAll to say what is wrong with it
		}
		missing = append(missing, d)
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	for _, d := range missing {
		if err := l.SyncDir(filepath.Dir(d)); err != nil {
			return err
		}
	}
	return nil
}

// resolve separates a location into the file system it is on, which is given
// where the options name one, and its name there.
func resolve(location string, given FileSystem) (FileSystem, string, error) {
	if location == "" {
		return nil, "", errors.New("files: the location is empty")
	}
	if given != nil {
		return given, location, nil
	}
	scheme, rest, found := strings.Cut(location, "://")
	switch {
	case !found:
		return Local{}, location, nil
	case scheme == "file":
		if !strings.HasPrefix(rest, "/") {
			return nil, "", fmt.Errorf("files: %s: a file:// location is file:///absolute/path", location)
		}
		return Local{}, rest, nil
	}
	return nil, "", fmt.Errorf("files: %s: there is no file system for %s://; file:// and plain paths are on this machine's disk", location, scheme)
}
