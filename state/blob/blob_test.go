package blob

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/iotest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func get(t *testing.T, s Store, name string) string {
	t.Helper()
	data, err := ReadAll(t.Context(), s, name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func list(t *testing.T, s Store, prefix string) string {
	t.Helper()
	var names []string
	for i, err := range s.List(t.Context(), prefix) {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, fmt.Sprintf("%s:%d", i.Name, i.Size))
	}
	return strings.Join(names, " ")
}

// Every store keeps these promises.
func conform(t *testing.T, open func(t *testing.T) Store) {
	t.Run("what is put is got, whole and in parts", func(t *testing.T) {
		s := open(t)
		if err := s.Put(t.Context(), "a/b/c", strings.NewReader("hello world")); err != nil {
			t.Fatal(err)
		}
		if g := get(t, s, "a/b/c"); g != "hello world" {
			t.Errorf("got %q", g)
		}
		for _, tt := range []struct {
			off, n int64
			want   string
			short  bool
		}{
			{0, 5, "hello", false}, {6, 5, "world", false}, {6, -1, "world", false}, {6, 6, "world", true},
			{11, -1, "", false}, {11, 0, "", false}, {12, 1, "", true}, {3, 0, "", false},
		} {
			data, err := ReadAll(t.Context(), s, "a/b/c", tt.off, tt.n)
			if string(data) != tt.want || errors.Is(err, io.ErrUnexpectedEOF) != tt.short || !tt.short && err != nil {
				t.Errorf("%d bytes at %d: %q, %v", tt.n, tt.off, data, err)
			}
		}
		if i, err := s.Stat(t.Context(), "a/b/c"); err != nil || i.Size != 11 || i.Name != "a/b/c" {
			t.Errorf("%+v, %v", i, err)
		}
	})
	t.Run("put replaces and put new does not", func(t *testing.T) {
		s := open(t)
		if err := s.PutNew(t.Context(), "x", strings.NewReader("1")); err != nil {
			t.Fatal(err)
		}
		if err := s.PutNew(t.Context(), "x", strings.NewReader("2")); !errors.Is(err, ErrExists) || errors.Is(err, ErrTransient) {
			t.Errorf("second: %v", err)
		}
		if g := get(t, s, "x"); g != "1" {
			t.Errorf("after the second: %q", g)
		}
		if err := s.Put(t.Context(), "x", strings.NewReader("3")); err != nil || get(t, s, "x") != "3" {
			t.Errorf("put: %v", err)
		}
	})
	t.Run("of many that put new one wins", func(t *testing.T) {
		s := open(t)
		var wg sync.WaitGroup
		var mu sync.Mutex
		var won []string
		for i := range 8 {
			wg.Go(func() {
				me := strings.Repeat(fmt.Sprint(i), 1000)
				err := s.PutNew(context.Background(), "d/lock", strings.NewReader(me))
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, me)
				} else if !errors.Is(err, ErrExists) {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if len(won) != 1 || get(t, s, "d/lock") != won[0] {
			t.Errorf("%d won", len(won))
		}
	})
	t.Run("lists are ordered by name and cut by prefix", func(t *testing.T) {
		s := open(t)
		if l := list(t, s, ""); l != "" {
			t.Errorf("empty: %s", l)
		}
		for _, n := range []string{"a/b", "a-b", "a/c/d", "ab", "b", "a/b0"} {
			if err := s.Put(t.Context(), n, strings.NewReader(n)); err != nil {
				t.Fatal(err)
			}
		}
		for _, tt := range []struct{ prefix, want string }{
			{"", "a-b:3 a/b:3 a/b0:4 a/c/d:5 ab:2 b:1"}, {"a/", "a/b:3 a/b0:4 a/c/d:5"}, {"a/b", "a/b:3 a/b0:4"},
			{"a", "a-b:3 a/b:3 a/b0:4 a/c/d:5 ab:2"}, {"a/c", "a/c/d:5"}, {"c", ""}, {"a/x/y", ""}, {"b/", ""},
		} {
			if l := list(t, s, tt.prefix); l != tt.want {
				t.Errorf("%q: %s, want %s", tt.prefix, l, tt.want)
			}
		}
	})
	t.Run("delete removes and does not mind what is gone", func(t *testing.T) {
		s := open(t)
		for _, n := range []string{"a/b", "a/c", "d/e/f"} {
			if err := s.Put(t.Context(), n, strings.NewReader(n)); err != nil {
				t.Fatal(err)
			}
		}
		if err := s.Delete(t.Context(), "a/b", "nothing/there", "d/e/f"); err != nil {
			t.Fatal(err)
		}
		if l := list(t, s, ""); l != "a/c:3" {
			t.Error(l)
		}
		if err := s.Put(t.Context(), "d/e/f", strings.NewReader("")); err != nil || get(t, s, "d/e/f") != "" {
			t.Error(err)
		}
	})
	t.Run("what is not there is ErrNotExist", func(t *testing.T) {
		s := open(t)
		for range 2 {
			if _, err := s.Get(t.Context(), "a/x", 0, -1); !errors.Is(err, ErrNotExist) || !strings.Contains(err.Error(), "a/x") {
				t.Error(err)
			}
			if _, err := s.Stat(t.Context(), "a/x"); !errors.Is(err, ErrNotExist) || errors.Is(err, ErrTransient) {
				t.Error(err)
			}
			if err := s.Put(t.Context(), "a/x/y", strings.NewReader("")); err != nil {
				t.Fatal(err)
			}
			if err := s.Delete(t.Context(), "a/x/y"); err != nil {
				t.Fatal(err)
			}
		}
	})
	t.Run("a reader that fails leaves nothing", func(t *testing.T) {
		s := open(t)
		bad := errors.New("the source broke")
		r := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(bad))
		if err := s.Put(t.Context(), "x", r); !errors.Is(err, bad) {
			t.Error(err)
		}
		if l := list(t, s, ""); l != "" {
			t.Error(l)
		}
	})
	t.Run("a context that has ended stops everything", func(t *testing.T) {
		s := open(t)
		if err := s.Put(t.Context(), "x", strings.NewReader("1")); err != nil {
			t.Fatal(err)
		}
		r, err := s.Get(t.Context(), "x", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		_, gerr := s.Get(ctx, "x", 0, -1)
		_, serr := s.Stat(ctx, "x")
		var lerr error
		for _, err := range s.List(ctx, "") {
			lerr = err
		}
		for i, err := range []error{s.Put(ctx, "y", strings.NewReader("")), s.PutNew(ctx, "y", strings.NewReader("")), gerr, serr, lerr, s.Delete(ctx, "x")} {
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%d: %v", i, err)
			}
		}
		if l := list(t, s, ""); l != "x:1" {
			t.Error(l)
		}
	})
	t.Run("names that lead outside are refused", func(t *testing.T) {
		s := open(t)
		for _, n := range []string{"", "/", "/a", "a/", "a//b", "../a", "a/../b", ".", "a/./b", "a\nb", ".tmp-x", "a/.tmp-1-b", `a\b`, strings.Repeat("x", 1001)} {
			if err := s.Put(t.Context(), n, strings.NewReader("")); err == nil {
				t.Errorf("put %q", n)
			}
			if _, err := s.Get(t.Context(), n, 0, 1); err == nil {
				t.Errorf("get %q", n)
			}
			if err := s.Delete(t.Context(), n); err == nil {
				t.Errorf("delete %q", n)
			}
		}
	})
}

func TestFileKeepsThePromises(t *testing.T) {
	conform(t, func(t *testing.T) Store { return NewFile(filepath.Join(t.TempDir(), "deep", "er")) })
}

func TestMemoryKeepsThePromises(t *testing.T) {
	conform(t, func(t *testing.T) Store { return &Memory{} })
}

func TestOpenNamesTheSettingAndWhatIsWrong(t *testing.T) {
	t.Chdir(t.TempDir())
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	s3 := Scheme{"s3", func(u *url.URL) (Store, error) {
		if u.Host == "bad" {
			return nil, errors.New("no such bucket")
		}
		return &Memory{}, nil
	}}
	for _, tt := range []struct{ in, want, err string }{
		{"/a/b", "file:///a/b", ""},
		{"file:///a/b/", "file:///a/b", ""},
		{"file://localhost/a", "file:///a", ""},
		{"ckpt", "file://" + here + "/ckpt", ""},
		{"file:///with%20space", "file:///with space", ""},
		{"s3://bucket/x", "memory:", ""},
		{"", "", `dir: not set; want a folder as a path or a URL like file:///var/checkpoints`},
		{"s3://bad", "", `dir: "s3://bad": no such bucket`},
		{"hdfs://nn/x", "", `dir: "hdfs://nn/x": no store for hdfs:// in this program; it has file, s3`},
		{"file://a/b", "", `dir: "file://a/b": "a" is read as a host; an absolute path has three slashes, as in file:///a/b`},
		{"file:/a/b", "", `dir: "file:/a/b": a URL has two slashes after the colon, as in file:///`},
		{"file:///a?b", "", `dir: "file:///a?b": a file URL has no ? or # part`},
		{"file://", "", `dir: "file://": no path; want file:///dir`},
		{"file:///%zz", "", `dir: "file:///%zz": invalid URL escape "%zz"`},
	} {
		s, err := Open("dir", tt.in, s3)
		switch {
		case tt.err == "" && (err != nil || s.String() != tt.want):
			t.Errorf("%q: %v, %v; want %s", tt.in, s, err, tt.want)
		case tt.err != "" && (err == nil || err.Error() != tt.err):
			t.Errorf("%q: error %v; want %s", tt.in, err, tt.err)
		}
	}
}

// files is every file below dir, temporary ones too.
func files(t *testing.T, dir string) (all []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(p string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			all = append(all, filepath.Base(p))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAFullDiskLeavesNothingAndIsNotTransient(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	if err := full.Close(); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	s := NewFile(dir)
	if err := s.Put(t.Context(), "x", strings.NewReader("old")); err != nil {
		t.Fatal(err)
	}
	// The temporary file is a link to the device that is always full.
	s.create = func(name string) (*os.File, error) {
		if err := os.Symlink("/dev/full", name); err != nil {
			return nil, err
		}
		return os.OpenFile(name, os.O_WRONLY, 0)
	}
	err = s.Put(t.Context(), "x", strings.NewReader("new"))
	if !errors.Is(err, syscall.ENOSPC) || errors.Is(err, ErrTransient) || !strings.Contains(err.Error(), "put x in file://"+dir) {
		t.Errorf("error %v", err)
	}
	if g := get(t, s, "x"); g != "old" || len(files(t, dir)) != 1 {
		t.Errorf("%q, %v", g, files(t, dir))
	}
}

func TestASyncThatFailsFailsThePut(t *testing.T) {
	dir := t.TempDir()
	s := NewFile(dir)
	calls := 0
	s.sync = func(f *os.File) error {
		calls++
		return &fs.PathError{Op: "sync", Path: f.Name(), Err: syscall.EIO}
	}
	if err := s.PutNew(t.Context(), "x", strings.NewReader("new")); !errors.Is(err, syscall.EIO) || len(files(t, dir)) != 0 || calls != 1 {
		t.Errorf("error %v, files %v", err, files(t, dir))
	}
	// The folder's sync: the object is there, but nobody may rely on it.
	s.sync = func(f *os.File) error {
		if fi, err := f.Stat(); err == nil && fi.IsDir() {
			return syscall.EIO
		}
		return f.Sync()
	}
	if err := s.Put(t.Context(), "x", strings.NewReader("new")); !errors.Is(err, syscall.EIO) {
		t.Errorf("error %v", err)
	}
}

func TestTransientErrorsAreMarked(t *testing.T) {
	s := NewFile(t.TempDir())
	s.create = func(name string) (*os.File, error) {
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EMFILE}
	}
	if err := s.Put(t.Context(), "x", strings.NewReader("")); !errors.Is(err, ErrTransient) || !errors.Is(err, syscall.EMFILE) {
		t.Error(err)
	}
}

func TestAReadOnlyFolderIsNamed(t *testing.T) {
	dir := t.TempDir()
	s := NewFile(dir)
	s.create = func(name string) (*os.File, error) { // what a folder without write permission does to who is not root
		return nil, &fs.PathError{Op: "open", Path: name, Err: syscall.EROFS}
	}
	err := s.Put(t.Context(), "a", strings.NewReader(""))
	if err == nil || err.Error() != "put a in file://"+dir+": read-only file system" {
		t.Error(err)
	}
}

func TestAVanishedFolderIsAnErrorAndNotMadeAnew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	s := NewFile(dir)
	if err := s.Put(t.Context(), "job/a", strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	var lerr error
	for _, err := range s.List(t.Context(), "job/") {
		lerr = err
	}
	for i, err := range []error{s.Put(t.Context(), "job/b", strings.NewReader("")), s.PutNew(t.Context(), "c", strings.NewReader("")), lerr} {
		if !errors.Is(err, ErrNotExist) || !strings.Contains(err.Error(), "the folder "+dir+" was there and is gone") {
			t.Errorf("%d: %v", i, err)
		}
	}
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		t.Error("the folder is back")
	}
}

func TestTemporaryFilesAreInvisibleAndSwept(t *testing.T) {
	dir := t.TempDir()
	s := NewFile(dir)
	if err := s.Put(t.Context(), "job/data/a", strings.NewReader("")); err != nil {
		t.Fatal(err)
	}
	// What a kill between two steps leaves.
	for _, n := range []string{"job/data/.tmp-1x-a", "job/data/.tmp-2-b", "job/.tmp-3-b", "other/.tmp-4-c"} {
		p := filepath.Join(dir, n)
		if err := errors.Join(os.MkdirAll(filepath.Dir(p), 0o777), os.WriteFile(p, []byte("half"), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	if l := list(t, s, ""); l != "job/data/a:0" {
		t.Error(l)
	}
	var asked []string
	n, err := s.Sweep(t.Context(), "job/data/", func(name string, begun time.Time) bool {
		if begun.IsZero() {
			t.Error("no time")
		}
		asked = append(asked, name)
		return name == "job/data/b"
	})
	if err != nil || n != 1 || fmt.Sprint(asked) != "[job/data/a job/data/b]" {
		t.Errorf("%d, %v, asked %v", n, err, asked)
	}
	if n, err := s.Sweep(t.Context(), "", func(string, time.Time) bool { return true }); err != nil || n != 3 {
		t.Errorf("%d, %v", n, err)
	}
	if f := files(t, dir); fmt.Sprint(f) != "[a]" {
		t.Error(f)
	}
}

func TestPutAndDeleteInOneFolderDoNotMeet(t *testing.T) {
	s := NewFile(t.TempDir())
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			for range 50 {
				name := fmt.Sprintf("a/b/%d", i)
				if err := s.Put(context.Background(), name, strings.NewReader("x")); err != nil && !errors.Is(err, ErrNotExist) {
					t.Error(err)
				} else if err == nil {
					if _, err := s.Stat(context.Background(), name); err != nil {
						t.Error(err)
					}
				}
				if err := s.Delete(context.Background(), name); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

func TestFaultsOfMemory(t *testing.T) {
	bad := errors.New("injected")
	m := &Memory{Torn: true}
	var next Fault
	var ops []string
	m.Hook = func(op Op) Fault {
		ops = append(ops, fmt.Sprintf("%d %s %s %d", op.N, op.Kind, op.Name, op.Size))
		f := next
		next = Fault{}
		return f
	}
	put := func(f Fault) error {
		next = f
		return m.Put(t.Context(), "x", strings.NewReader("hello"))
	}
	has := func() string {
		data, err := ReadAll(t.Context(), m, "x", 0, -1)
		if err != nil {
			return "nothing"
		}
		return string(data)
	}
	if err := put(Fault{Err: bad}); !errors.Is(err, bad) || has() != "nothing" {
		t.Errorf("failed: %v, %s", err, has())
	}
	if err := put(Fault{Err: bad, Torn: 2}); !errors.Is(err, bad) || has() != "he" {
		t.Errorf("torn: %v, %s", err, has())
	}
	m.Torn = false
	if err := put(Fault{Err: bad, Torn: 3}); !errors.Is(err, bad) || has() != "he" {
		t.Errorf("torn where puts are atomic: %v, %s", err, has())
	}
	if err := put(Fault{Err: bad, Done: true}); !errors.Is(err, bad) || has() != "hello" {
		t.Errorf("lost: %v, %s", err, has())
	}
	var slept time.Duration
	m.Sleep = func(ctx context.Context, d time.Duration) error { slept += d; return nil }
	if err := put(Fault{Delay: time.Hour}); err != nil || slept != time.Hour {
		t.Errorf("%v, slept %v", err, slept)
	}
	next = Fault{Err: bad, Done: true}
	if err := m.Delete(t.Context(), "x"); !errors.Is(err, bad) || has() != "nothing" {
		t.Errorf("lost delete: %v, %s", err, has())
	}
	if ops[0] != "1 put x 5" || m.Ops() != len(ops) {
		t.Errorf("%d operations: %q", m.Ops(), ops)
	}
}

func TestFaultsComeFromTheSeed(t *testing.T) {
	run := func(seed uint64) string {
		m := &Memory{Torn: true, Hook: Faults(seed, Rates{Fail: .2, Lost: .2, Tear: .2, Delay: .3, DelayMax: time.Second})}
		var out bytes.Buffer
		m.Sleep = func(_ context.Context, d time.Duration) error { fmt.Fprintln(&out, d); return nil }
		for i := range 100 {
			name := fmt.Sprint(i % 10)
			err := m.Put(context.Background(), name, strings.NewReader("0123456789"))
			if err != nil && !errors.Is(err, ErrTransient) {
				t.Fatal(err)
			}
			i, serr := m.Stat(context.Background(), name)
			fmt.Fprintln(&out, err, i.Size, serr)
		}
		return out.String()
	}
	if a, b := run(1), run(1); a != b {
		t.Error("one seed, two outcomes")
	}
	if run(1) == run(2) {
		t.Error("two seeds, one outcome")
	}
	for _, what := range []string{"failure", "loss", "tear"} {
		if !strings.Contains(run(1), "injected "+what) {
			t.Errorf("no %s", what)
		}
	}
}
