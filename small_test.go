package millrace_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// smallProgram is one window, as a newcomer would write it.
const smallProgram = `package main

import (
	"time"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/memory"
	"github.com/millrace/millrace/connectors/stdio"
)

type click struct {
	User string
	At   time.Time
}

func main() {
	millrace.Main("small", func(job *millrace.Job) {
		job.From("clicks", memory.Of(1, click{})).
			EventTime(func(c click) time.Time { return c.At }, time.Second).
			KeyBy(func(c click) string { return c.User }).
			Window(millrace.Tumbling(time.Minute)).
			Count("counts").
			To("out", stdio.Print[millrace.Result[string, int64]]())
	})
}
`

// Every method of a generic type that the compiler makes, and what it mentions,
// is made again for each type of record. One method too many that leads to all
// windows or to a stream of another type makes small programs large and slow to
// build; see lazy.
func TestSmallProgramStaysSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a program")
	}
	const most = 3800 // 3,060 when this was written, a third of them for checkpoints
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "main.go"), filepath.Join(dir, "small")
	if err := os.WriteFile(src, []byte(smallProgram), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("go", "build", "-o", bin, src).CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	out, err := exec.Command("go", "tool", "nm", bin).Output()
	if err != nil {
		t.Fatalf("go tool nm: %v", err)
	}
	n := 0
	for line := range bytes.Lines(out) {
		if bytes.Contains(line, []byte("github.com/millrace/millrace")) {
			n++
		}
	}
	if n == 0 || n > most {
		t.Errorf("the program has %d symbols of millrace, want 1 to %d", n, most)
	}
}
