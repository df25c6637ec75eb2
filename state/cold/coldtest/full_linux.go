package coldtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/millrace/millrace/state/cold"
)

const (
	inside    = "MILLRACE_FULL_DISK"
	diskBytes = 24 << 20
)

// FullDisk tests a store on a disk that runs full and has space again. It runs
// the test of the calling name once more, in a process with a small disk of
// its own, and skips where the system does not allow that.
func FullDisk(t *testing.T, mk Make) {
	if dir := os.Getenv(inside); dir != "" {
		if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskBytes)); err != nil {
			t.Skipf("no disk of its own: %v", err)
		}
		fillDisk(t, dir, mk)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^"+t.Name()+"$", "-test.v", "-test.timeout=60s")
	cmd.Env = append(os.Environ(), inside+"="+t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
		Pdeathsig:   syscall.SIGKILL,
	}
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	switch {
	case err != nil && !errors.As(err, &exit):
		t.Skipf("no process with a disk of its own: %v", err)
	case err != nil:
		t.Fatalf("%v\n%s", err, out)
	case bytes.Contains(out, []byte("--- SKIP")):
		t.Skipf("%s", out)
	}
	t.Logf("%s", out)
}

func fillDisk(t *testing.T, dir string, mk Make) {
	b := make1(t, mk, cold.Config{MemoryBytes: 4 << 20})
	ballast := filepath.Join(dir, "ballast")
	if err := os.WriteFile(ballast, make([]byte, diskBytes/2), 0o644); err != nil {
		t.Fatal(err)
	}
	s, err := b.Create(filepath.Join(dir, "db"), groups, options())
	u := opened(t, s, err)

	rng := rand.New(rand.NewPCG(4, 4))
	value := make([]byte, 1000)
	batch := func(w *cold.Batch, from int) {
		w.Reset()
		for i := range 64 {
			for j := 0; j < len(value); j += 8 {
				binary.LittleEndian.PutUint64(value[j:], rng.Uint64())
			}
			binary.BigEndian.PutUint32(value, uint32(from+i))
			w.Put(key(7, 0, from+i), value)
		}
	}
	// Until the disk is full a batch is written or refused, never waited for
	// without end.
	var w cold.Batch
	wrote, full := 0, error(nil)
	for full == nil && wrote < 4*diskBytes/len(value) {
		batch(&w, wrote)
		if full = u.Write(&w); full == nil {
			wrote += 64
		}
	}
	if full == nil {
		t.Fatalf("%d bytes written to a disk of %d: no error", wrote*len(value), diskBytes)
	}
	t.Logf("after %d entries: %v", wrote, full)
	if !strings.Contains(strings.ToLower(full.Error()), "no space") {
		t.Errorf("the error does not tell of a full disk: %v", full)
	}
	if _, err := u.Checkpoint(filepath.Join(dir, "full")); err == nil {
		t.Error("a checkpoint of a store on a full disk: no error")
	}
	if r, err := u.NewRun(); err == nil {
		for i := range 4 {
			batch(&w, 100000+64*i)
			err = errors.Join(err, r.Add(&w))
		}
		t.Logf("a run: %v", errors.Join(err, r.Ingest()))
	}
	// What was written is there while the disk is full, and after.
	look := func() {
		t.Helper()
		for i := 0; i < wrote; i += 97 {
			if v := u.get(key(7, 0, i)); len(v) != len(value) || binary.BigEndian.Uint32([]byte(v)) != uint32(i) {
				t.Fatalf("entry %d of %d has %d bytes", i, wrote, len(v))
			}
		}
	}
	look()
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	// A store may look for space every few seconds only. The process has a
	// limit of its own.
	tries := 0
	for batch(&w, wrote); ; tries++ {
		if err = u.Write(&w); err == nil {
			break
		}
		if !strings.Contains(strings.ToLower(err.Error()), "no space") {
			t.Fatalf("space again, and another error: %v", err)
		}
		runtime.Gosched()
	}
	wrote += 64
	look()
	im := u.checkpoint(filepath.Join(dir, "after"))
	t.Logf("written again after %d refusals; %d files in a checkpoint", tries, len(im.Files))
}
