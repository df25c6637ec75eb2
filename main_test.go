package millrace

import (
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type few struct{}

func (few) Bounded() bool { return true }
func (few) Splits(context.Context, int) ([]Split, error) {
	return []Split{{ID: "all"}}, nil
}
func (few) Open(context.Context, Split, Position) (Reader[int], error) { return fewReader{}, nil }

type fewReader struct{}

func (fewReader) Read(_ context.Context, out *Rows[int]) error {
	out.Append(1)
	return io.EOF
}
func (fewReader) Position() Position { return nil }
func (fewReader) Close() error       { return nil }

func TestCommandLine(t *testing.T) {
	for _, tt := range []struct {
		args   string
		status int
		stdout string
		stderr string
	}{
		{"", 0, "", ""},
		{"--greeting hello --parallelism 2", 0, "", ""},
		{"--greeting=hello --loud", 0, "", ""},
		{"--help", 0, "--greeting", ""},
		{"-h", 0, "--parallelism N", ""},
		{"--gretting hello", 2, "", "unknown parameter --gretting"},
		{"--times many", 2, "", `--times "many" is not an integer`},
		{"--for ever", 2, "", `--for "ever" is not a duration`},
		{"--loud perhaps", 2, "", "neither true nor false"},
		{"--parallelism 0", 2, "", `--parallelism "0" is not a number from 1 to 32768`},
		{"--batch-size 5000", 2, "", "from 1 to 4096"},
		{"--progress maybe", 2, "", "auto, on or off"},
		{"--log-level chatty", 2, "", "debug, info, warn or error"},
		{"stray", 2, "", `unexpected argument "stray"`},
		{"--times 1 --times 2", 2, "", "given twice"},
		{"--fail", 1, "", "job cli: operator Map"},
		{"--progress on", 0, "", "1 records in"},
	} {
		t.Run(tt.args, func(t *testing.T) {
			dir := t.TempDir()
			stdout, err := os.Create(filepath.Join(dir, "stdout"))
			if err != nil {
				t.Fatal(err)
			}
			defer stdout.Close()
			stderr, err := os.Create(filepath.Join(dir, "stderr"))
			if err != nil {
				t.Fatal(err)
			}
			defer stderr.Close()
			ended := false
			status := run("cli", strings.Fields(tt.args), stdout, stderr, func(job *Job) {
				job.Param("greeting", "hi", "what to say")
				job.ParamInt("times", 1, "how often")
				job.ParamDuration("for", 0, "how long")
				job.ParamBool("loud", false, "say it loudly")
				fail := job.ParamBool("fail", false, "fail")
				job.From("few", few{}).Map(func(i int) int {
					if fail {
						panic("as asked")
					}
					return i
				}).To("out", nowhere{})
				job.OnEnd(func() error { ended = true; return nil })
			})
			out, _ := os.ReadFile(stdout.Name())
			msg, _ := os.ReadFile(stderr.Name())
			if status != tt.status || !strings.Contains(string(out), tt.stdout) || !strings.Contains(string(msg), tt.stderr) {
				t.Errorf("status %d, want %d; stdout %q, want %q; stderr %q, want %q", status, tt.status, out, tt.stdout, msg, tt.stderr)
			}
			if help := strings.Contains(tt.args, "-h"); ended != (status == 0 && !help) {
				t.Errorf("OnEnd called: %t at status %d", ended, status)
			}
		})
	}
}

type nowhere struct{}

func (n nowhere) OpenWriter(context.Context, Subtask) (Writer[int], error) { return n, nil }
func (nowhere) Write(context.Context, []int) error                         { return nil }
func (nowhere) Flush(context.Context) error                                { return nil }
func (nowhere) Close() error                                               { return nil }

func TestHelpThatCannotBeWrittenIsAnError(t *testing.T) {
	shut, err := os.Create(filepath.Join(t.TempDir(), "stdout"))
	if err != nil {
		t.Fatal(err)
	}
	if err := shut.Close(); err != nil {
		t.Fatal(err)
	}
	stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr"))
	if err != nil {
		t.Fatal(err)
	}
	defer stderr.Close()
	status := run("cli", []string{"--help"}, shut, stderr, func(*Job) {})
	if msg, _ := os.ReadFile(stderr.Name()); status != 1 || !strings.Contains(string(msg), "cli: write ") {
		t.Errorf("status %d, stderr %q", status, msg)
	}
}
