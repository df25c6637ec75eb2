package files_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"path"
	"slices"
	"strings"

	"github.com/millrace/millrace/connectors/files"
)

// disk is a file system in memory that forgets, when its power is cut, what
// was not synced: the content of files since their last Sync, and any of the
// changes to names since the last SyncDir of a directory they touch. Making a
// directory is durable at once, as [files.FileSystem] has it.
type disk struct {
	now, stable map[string]*inode // files by name
	dirs        map[string]bool
	log         []change // not yet in stable
}

type inode struct {
	data   []byte
	synced int
}

// change is a rename; from or to is empty when the file was made or removed.
type change struct {
	from, to string
	f        *inode
}

func newDisk() *disk {
	return &disk{now: map[string]*inode{}, stable: map[string]*inode{}, dirs: map[string]bool{"/": true}}
}

func pathError(op, name string, err error) error { return &fs.PathError{Op: op, Path: name, Err: err} }

func (d *disk) do(c change) {
	c.apply(d.now)
	d.log = append(d.log, c)
}

func (c change) apply(names map[string]*inode) {
	delete(names, c.from)
	if c.to != "" {
		names[c.to] = c.f
	}
}

// cut cuts the power.
func (d *disk) cut(rng *rand.Rand) {
	for _, c := range d.log {
		if rng.IntN(2) == 0 {
			// What happens to a file happens in order or not at all.
			if c.from == "" || d.stable[c.from] == c.f {
				c.apply(d.stable)
			}
		}
	}
	d.log = nil
	d.now = map[string]*inode{}
	for name, f := range d.stable {
		if n := len(f.data); n > f.synced {
			f.data = f.data[:f.synced+rng.IntN(n-f.synced+1)]
			if rng.IntN(2) == 0 {
				clear(f.data[f.synced:])
			}
		}
		d.now[name] = f
	}
}

func (d *disk) Open(name string) (files.File, error) {
	f := d.now[name]
	if f == nil {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	return diskReader{bytes.NewReader(f.data)}, nil
}

type diskReader struct{ *bytes.Reader }

func (r diskReader) Size() (int64, error) { return r.Reader.Size(), nil }
func (diskReader) Close() error           { return nil }

func (d *disk) Create(name string) (files.FileWriter, error) {
	if !d.dirs[path.Dir(name)] {
		return nil, pathError("open", name, fs.ErrNotExist)
	}
	if d.now[name] != nil || d.dirs[name] {
		return nil, pathError("open", name, fs.ErrExist)
	}
	f := &inode{}
	d.do(change{to: name, f: f})
	return diskWriter{f}, nil
}

type diskWriter struct{ f *inode }

func (w diskWriter) Write(p []byte) (int, error) {
	w.f.data = append(w.f.data, p...)
	return len(p), nil
}
func (w diskWriter) Sync() error { w.f.synced = len(w.f.data); return nil }
func (diskWriter) Close() error  { return nil }

func (d *disk) Rename(from, to string) error {
	f := d.now[from]
	if f == nil || !d.dirs[path.Dir(to)] {
		return pathError("rename", from, fs.ErrNotExist)
	}
	d.do(change{from, to, f})
	return nil
}

func (d *disk) Remove(name string) error {
	if f := d.now[name]; f != nil {
		d.do(change{from: name, f: f})
		return nil
	}
	if !d.dirs[name] {
		return pathError("remove", name, fs.ErrNotExist)
	}
	for _, names := range []map[string]*inode{d.now, d.stable} {
		for n := range names {
			if strings.HasPrefix(n, name+"/") {
				return pathError("remove", name, errors.New("directory not empty"))
			}
		}
	}
	delete(d.dirs, name)
	return nil
}

func (d *disk) SyncDir(dir string) error {
	if !d.dirs[dir] {
		return pathError("open", dir, fs.ErrNotExist)
	}
	d.log = slices.DeleteFunc(d.log, func(c change) bool {
		if c.from != "" && path.Dir(c.from) == dir || c.to != "" && path.Dir(c.to) == dir {
			c.apply(d.stable)
			return true
		}
		return false
	})
	return nil
}

func (d *disk) List(dir string) (es []files.Entry, err error) {
	if !d.dirs[dir] {
		return nil, pathError("open", dir, fs.ErrNotExist)
	}
	for n := range d.dirs {
		if n != dir && path.Dir(n) == dir {
			es = append(es, files.Entry{Name: path.Base(n), Dir: true})
		}
	}
	for n, f := range d.now {
		if path.Dir(n) == dir {
			es = append(es, files.Entry{Name: path.Base(n), Size: int64(len(f.data))})
		}
	}
	slices.SortFunc(es, func(a, b files.Entry) int { return strings.Compare(a.Name, b.Name) })
	return es, nil
}

func (d *disk) Stat(name string) (files.Entry, error) {
	if f := d.now[name]; f != nil {
		return files.Entry{Name: path.Base(name), Size: int64(len(f.data))}, nil
	}
	if d.dirs[name] {
		return files.Entry{Name: path.Base(name), Dir: true}, nil
	}
	return files.Entry{}, pathError("stat", name, fs.ErrNotExist)
}

func (d *disk) MkdirAll(dir string) error {
	for ; !d.dirs[dir]; dir = path.Dir(dir) {
		if d.now[dir] != nil {
			return pathError("mkdir", dir, errors.New("not a directory"))
		}
		d.dirs[dir] = true
	}
	return nil
}

// faulty is a file system that fails when it is told to.
type faulty struct {
	files.FileSystem
	good, bad int // operations until it fails, and until it works again
	armed     bool
	failed    bool
	ops       int
}

var errFault = errors.New("input/output error")

func (f *faulty) arm(good, bad int) { f.good, f.bad, f.armed = good, bad, true }

func (f *faulty) broken() bool {
	was := f.failed
	f.failed = false
	return was
}

func (f *faulty) fault(op, name string) error {
	f.ops++
	switch {
	case !f.armed:
		return nil
	case f.good > 0:
		f.good--
		return nil
	case f.bad == 0:
		f.armed = false
		return nil
	}
	f.bad--
	f.failed = true
	return pathError(op, name, errFault)
}

func (f *faulty) Open(name string) (files.File, error) {
	if err := f.fault("open", name); err != nil {
		return nil, err
	}
	return f.FileSystem.Open(name)
}

func (f *faulty) Create(name string) (files.FileWriter, error) {
	if err := f.fault("open", name); err != nil {
		return nil, err
	}
	w, err := f.FileSystem.Create(name)
	return faultyWriter{w, f, name}, err
}

type faultyWriter struct {
	files.FileWriter
	f    *faulty
	name string
}

func (w faultyWriter) Write(p []byte) (int, error) {
	if err := w.f.fault("write", w.name); err != nil {
		n, _ := w.FileWriter.Write(p[:len(p)/2])
		return n, err
	}
	return w.FileWriter.Write(p)
}

func (w faultyWriter) Sync() error {
	if err := w.f.fault("sync", w.name); err != nil {
		return err
	}
	return w.FileWriter.Sync()
}

func (f *faulty) Rename(from, to string) error {
	if err := f.fault("rename", from); err != nil {
		if f.ops%2 == 0 {
			_ = f.FileSystem.Rename(from, to) // it was done, and the answer was lost
		}
		return err
	}
	return f.FileSystem.Rename(from, to)
}

func (f *faulty) Remove(name string) error {
	if err := f.fault("remove", name); err != nil {
		return err
	}
	return f.FileSystem.Remove(name)
}

func (f *faulty) SyncDir(dir string) error {
	if err := f.fault("sync", dir); err != nil {
		return err
	}
	return f.FileSystem.SyncDir(dir)
}

func (f *faulty) List(dir string) ([]files.Entry, error) {
	if err := f.fault("list", dir); err != nil {
		return nil, err
	}
	return f.FileSystem.List(dir)
}

func (f *faulty) Stat(name string) (files.Entry, error) {
	if err := f.fault("stat", name); err != nil {
		return files.Entry{}, err
	}
	return f.FileSystem.Stat(name)
}

func (f *faulty) MkdirAll(dir string) error {
	if err := f.fault("mkdir", dir); err != nil {
		return err
	}
	return f.FileSystem.MkdirAll(dir)
}

var _ io.Writer = diskWriter{}
