package snapshot

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/millrace/millrace/state/blob"
)

var update = flag.Bool("update", false, "write the golden files of the present version anew")

// Snapshots of every version that was ever released must stay readable. Those
// of the present version are written by
//
//	go test ./state/snapshot -run Golden -update
//
// before it is released, and never after.
func TestGoldenSnapshotsOfAllVersionsAreRead(t *testing.T) {
	if *update {
		writeGolden(t, filepath.Join("testdata", fmt.Sprintf("golden-v%d", Version)))
	}
	dirs, err := filepath.Glob("testdata/golden-v*")
	if err != nil || len(dirs) != Version {
		t.Fatalf("golden snapshots %q, %v; want one of each version up to %d", dirs, err, Version)
	}
	for _, dir := range dirs {
		var want map[string]map[string]string
		data, err := os.ReadFile(filepath.Join(dir, "content.json"))
		if err == nil {
			err = json.Unmarshal(data, &want)
		}
		if err != nil || len(want) < 3 {
			t.Fatalf("%s: %d snapshots, %v", dir, len(want), err)
		}
		for name, content := range want {
			store, sub, err := Locate("golden", filepath.Join(dir, filepath.FromSlash(name)))
			if err != nil {
				t.Fatal(err)
			}
			s := mustOpen(t, store, sub)
			if err := s.Verify(t.Context()); err != nil {
				t.Error(err)
			}
			sameContent(t, dir+"/"+name, shown(mustLoad(t, s)), content)
			dump, err := s.Manifest.JSON()
			if err != nil {
				t.Fatal(err)
			}
			wantDump, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)+".json"))
			if err != nil || string(wantDump) != string(dump)+"\n" {
				t.Errorf("%s/%s: the dump differs, or %v:\n%s", dir, name, err, dump)
			}
		}
	}
}

// shown are contents in hexadecimal, long ones as their hash.
func shown(content map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range content {
		out[k] = fmt.Sprintf("%x", v)
		if len(v) > 500 {
			out[k] = fmt.Sprintf("%d bytes, sha256 %x", len(v), sha256.Sum256([]byte(v)))
		}
	}
	return out
}

func writeGolden(t *testing.T, dir string) {
	t.Helper()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	want := map[string]map[string]string{}
	store := blob.NewFile(dir)
	done := func(name string, j *job) {
		want[name] = shown(j.content())
		dump, err := mustOpen(t, store, name).Manifest.JSON()
		if err := errors.Join(err, os.WriteFile(filepath.Join(dir, filepath.FromSlash(name)+".json"), append(dump, '\n'), 0o666)); err != nil {
			t.Fatal(err)
		}
	}
	// Two checkpoints, of which the second refers to the first; a large key
	// group, pieces that are inline, a cold file of its own, and one that is
	// not.
	f := NewFolder(store, "job")
	j := newJob(1)
	j.size, j.coldBytes, j.versioned = 400, 250, true
	j.counts[9] = bytes.Repeat([]byte("a large key group "), 20_000)
	var base *Manifest
	for id := uint64(1); id <= 2; id++ {
		if id == 2 {
			j.inline = 2000
			j.touch(3)
		}
		m, err := j.checkpoint(t.Context(), f, id, 1, base)
		if err != nil {
			t.Fatal(err)
		}
		base = m
		done(fmt.Sprintf("job/chk-%d", id), j)
	}
	info := j.info(3, 1)
	info.Kind = Savepoint
	j.counts[9] = j.counts[9][:500]
	m, err := j.write(t.Context(), info, func(o WriterOptions) (*Writer, error) { return SavepointWriter(store, "savepoint", o) }, nil)
	if err == nil {
		err = PublishSavepoint(t.Context(), store, "savepoint", m)
	}
	if err != nil {
		t.Fatal(err)
	}
	done("savepoint", j)
	data, err := json.MarshalIndent(want, "", "\t")
	if err := errors.Join(err, os.WriteFile(filepath.Join(dir, "content.json"), append(data, '\n'), 0o666)); err != nil {
		t.Fatal(err)
	}
}
