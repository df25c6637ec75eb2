package blob

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"iter"
	"math/rand/v2"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

// File is the Store in a folder of a file system, which must have atomic
// renames and hard links. An object is written to a temporary file beside its
// place, synced, moved into its place, and the folder synced.
//
// The folder is made by the first Put if it is not there. If it is gone later,
// calls fail: a folder that vanishes under a running job is a disk that has
// been unmounted more often than one that someone wanted to be empty.
type File struct {
	dir  string
	made atomic.Bool // the folder has been there

	// sync and create stand in for the file system in tests.
	sync   func(*os.File) error
	create func(name string) (*os.File, error)
}

// NewFile returns the store in the folder dir. It touches nothing yet.
func NewFile(dir string) *File {
	return &File{dir: filepath.Clean(dir), sync: (*os.File).Sync, create: func(name string) (*os.File, error) {
		return os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o666)
	}}
}

// Dir is the store's folder.
func (s *File) Dir() string { return s.dir }

// String implements [Store].
func (s *File) String() string { return "file://" + filepath.ToSlash(s.dir) }

// error tells what was done to which object, and marks what may pass.
func (s *File) error(op, name string, err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	// A PathError repeats the path, for temporary files a misleading one.
	var pe *fs.PathError
	var le *os.LinkError
	switch {
	case errors.As(err, &pe):
		err = pe.Err
	case errors.As(err, &le):
		err = le.Err
	}
	if passing(err) {
		err = fmt.Errorf("%w: %w", ErrTransient, err)
	}
	return fmt.Errorf("%s %s in %s: %w", op, name, s, err)
}

// passing reports whether the file system may answer otherwise soon. A full or
// read-only disk is not one of these: someone has to do something.
func passing(err error) bool {
	for _, e := range []error{
		syscall.EAGAIN, syscall.EINTR, syscall.EBUSY, syscall.ETIMEDOUT, syscall.ESTALE,
		syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

func (s *File) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

// Put implements [Store].
func (s *File) Put(ctx context.Context, name string, r io.Reader) error {
	return s.put(ctx, name, r, os.Rename)
}

// PutNew implements [Store].
func (s *File) PutNew(ctx context.Context, name string, r io.Reader) error {
	return s.put(ctx, name, r, func(from, to string) error {
		// Unlike a rename, a link never replaces.
		if err := os.Link(from, to); err != nil {
			return err
		}
		// It is done. If this name stays it is swept later.
		_ = os.Remove(from)
		return nil
	})
}

func (s *File) put(ctx context.Context, name string, r io.Reader, place func(from, to string) error) (err error) {
	defer func() { err = s.error("put", name, err) }()
	if err := CheckName(name); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	to := s.path(name)
	dir := filepath.Dir(to)
	f, err := s.temp(dir, filepath.Base(to))
	if err != nil {
		return err
	}
	_, err = io.Copy(f, contextReader{ctx, r})
	if err == nil {
		err = s.sync(f)
	}
	err = errors.Join(err, f.Close())
	if err == nil {
		err = ctx.Err()
	}
	if err == nil {
		err = place(f.Name(), to)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // or it is swept
		return err
	}
	return s.syncDir(dir)
}

// temp makes a temporary file for the object called base in the folder dir,
// which it makes if need be.
func (s *File) temp(dir, base string) (*os.File, error) {
	// Long names leave no room for more; the random part tells them apart.
	name := filepath.Join(dir, tempPrefix+strconv.FormatUint(rand.Uint64(), 36)+"-"+base[:min(len(base), 200)])
	for try := 0; ; try++ {
		f, err := s.create(name)
		if err == nil {
			s.made.Store(true)
		}
		// Delete removes folders that have become empty, possibly between the
		// two steps here.
		if !errors.Is(err, fs.ErrNotExist) || try == 10 {
			return f, err
		}
		if err := s.mkdir(dir); err != nil {
			return nil, err
		}
	}
}

// mkdir makes dir and the folders above it, durably, but not the store's own
// folder if that was there once.
func (s *File) mkdir(dir string) error {
	if dir == s.dir && s.made.Load() {
		return s.gone()
	}
	err := os.Mkdir(dir, 0o777)
	if up := filepath.Dir(dir); errors.Is(err, fs.ErrNotExist) && up != dir {
		if err := s.mkdir(up); err != nil {
			return err
		}
		err = os.Mkdir(dir, 0o777)
	}
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.syncDir(filepath.Dir(dir))
}

func (s *File) gone() error {
	return fmt.Errorf("the folder %s was there and is gone: %w", s.dir, fs.ErrNotExist)
}

// syncDir makes names in dir durable.
func (s *File) syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(s.sync(d), d.Close())
}

// Get implements [Store].
func (s *File) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	if err := CheckName(name); err != nil {
		return nil, s.error("get", name, err)
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	f, err := os.Open(s.path(name))
	if err != nil {
		return nil, s.error("get", name, err)
	}
	if off > 0 {
		if _, err := f.Seek(off, io.SeekStart); err != nil {
			return nil, s.error("get", name, errors.Join(err, f.Close()))
		}
	}
	return &fileReader{ctx: ctx, s: s, name: name, f: f, left: n}, nil
}

type fileReader struct {
	ctx  context.Context
	s    *File
	name string
	f    *os.File
	left int64 // < 0: no limit
}

func (r *fileReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	if r.left >= 0 && int64(len(p)) > r.left {
		p = p[:r.left]
		if r.left == 0 {
			return 0, io.EOF
		}
	}
	n, err := r.f.Read(p)
	if r.left >= 0 {
		r.left -= int64(n)
	}
	if err != nil && err != io.EOF {
		err = r.s.error("get", r.name, err)
	}
	return n, err
}

func (r *fileReader) Close() error { return r.f.Close() }

// Stat implements [Store].
func (s *File) Stat(ctx context.Context, name string) (Info, error) {
	if err := ctx.Err(); err != nil {
		return Info{}, err
	}
	if err := CheckName(name); err != nil {
		return Info{}, s.error("stat", name, err)
	}
	fi, err := os.Stat(s.path(name))
	if err == nil && !fi.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return Info{}, s.error("stat", name, err)
	}
	return Info{Name: name, Size: fi.Size(), Modified: fi.ModTime()}, nil
}

// List implements [Store].
func (s *File) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		all, err := s.walk(ctx, prefix, func(base string) bool { return !strings.HasPrefix(base, tempPrefix) })
		// The order of a walk has a/b before a-b.
		slices.SortFunc(all, func(a, b Info) int { return strings.Compare(a.Name, b.Name) })
		if err != nil {
			yield(Info{}, s.error("list", prefix, err))
			return
		}
		for _, i := range all {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// walk returns the files whose names begin with prefix and whose last element
// want wants. Names of temporary files are matched by their folder.
func (s *File) walk(ctx context.Context, prefix string, want func(base string) bool) (all []Info, err error) {
	folder, _ := path.Split(prefix)
	start := filepath.Join(s.dir, filepath.FromSlash(folder))
	err = filepath.WalkDir(start, func(p string, d fs.DirEntry, err error) error {
		if cerr := ctx.Err(); cerr != nil {
			return cerr
		}
		if errors.Is(err, fs.ErrNotExist) {
			// Nothing there yet, or deleted while we look; but a store whose
			// own folder is gone is not an empty store.
			if s.made.Load() {
				if _, serr := os.Stat(s.dir); serr != nil {
					return s.gone()
				}
			}
			return nil
		}
		if err != nil {
			return err
		}
		s.made.Store(true)
		rel, err := filepath.Rel(s.dir, p)
		if err != nil {
			return err
		}
		name := filepath.ToSlash(rel)
		if d.IsDir() {
			if rel != "." && !strings.HasPrefix(name+"/", prefix) && !strings.HasPrefix(prefix, name+"/") {
				return fs.SkipDir
			}
			return nil
		}
		base := d.Name()
		match := strings.HasPrefix(name, prefix)
		if strings.HasPrefix(base, tempPrefix) {
			match = strings.HasPrefix(target(name), prefix)
		}
		if !match || !want(base) || !d.Type().IsRegular() {
			return nil
		}
		fi, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		all = append(all, Info{Name: name, Size: fi.Size(), Modified: fi.ModTime()})
		return nil
	})
	return all, err
}

// target is the object that the temporary file called name was for.
func target(name string) string {
	dir, base := path.Split(name)
	_, of, _ := strings.Cut(strings.TrimPrefix(base, tempPrefix), "-")
	return dir + of
}

// Delete implements [Store]. Folders that become empty are removed, too.
func (s *File) Delete(ctx context.Context, names ...string) error {
	dirs := map[string]bool{}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := CheckName(name); err != nil {
			return s.error("delete", name, err)
		}
		p := s.path(name)
		err := os.Remove(p)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return s.error("delete", name, err)
		}
		dirs[filepath.Dir(p)] = true
	}
	for dir := range dirs {
		for dir != s.dir && len(dir) > len(s.dir) {
			if os.Remove(dir) != nil {
				break // not empty, or gone already
			}
			dir = filepath.Dir(dir)
		}
		// Not needed for safety: a file that comes back is deleted again.
	}
	return nil
}

// Sweep implements [Sweeper] for temporary files.
func (s *File) Sweep(ctx context.Context, prefix string, stale func(name string, begun time.Time) bool) (int, error) {
	all, err := s.walk(ctx, prefix, func(base string) bool { return strings.HasPrefix(base, tempPrefix) })
	n := 0
	for _, i := range all {
		if !stale(target(i.Name), i.Modified) {
			continue
		}
		if rerr := os.Remove(s.path(i.Name)); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = errors.Join(err, rerr)
			continue
		}
		n++
	}
	return n, s.error("sweep", prefix, err)
}
