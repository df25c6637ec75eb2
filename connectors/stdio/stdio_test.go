package stdio

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/millrace/millrace"
)

type rec struct {
	Name string
	N    int           `json:"n"`
	Took time.Duration `json:",omitzero"`
}

var ctx = context.Background()

func TestRecordsArePrintedALineEach(t *testing.T) {
	for _, tt := range []struct {
		o    Options
		sub  millrace.Subtask
		want string
	}{
		{Options{}, millrace.Subtask{Of: 1}, "{Name:a N:1 Took:0s}\n{Name:b N:2 Took:1s}\n"},
		{Options{}, millrace.Subtask{Index: 2, Of: 3}, "3> {Name:a N:1 Took:0s}\n3> {Name:b N:2 Took:1s}\n"},
		{Options{Bare: true}, millrace.Subtask{Of: 2}, "{Name:a N:1 Took:0s}\n{Name:b N:2 Took:1s}\n"},
		{Options{JSON: true}, millrace.Subtask{Of: 1}, "{\"Name\":\"a\",\"n\":1}\n{\"Name\":\"b\",\"n\":2,\"Took\":1000000000}\n"},
		{Options{JSON: true}, millrace.Subtask{Index: 1, Of: 2}, "2> {\"Name\":\"a\",\"n\":1}\n2> {\"Name\":\"b\",\"n\":2,\"Took\":1000000000}\n"},
	} {
		var buf bytes.Buffer
		tt.o.To = &buf
		w, err := Print[rec](tt.o).OpenWriter(ctx, tt.sub)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(w.Write(ctx, []rec{{"a", 1, 0}, {"b", 2, time.Second}}), w.Flush(ctx), w.Close()); err != nil {
			t.Fatal(err)
		}
		if buf.String() != tt.want {
			t.Errorf("%+v %+v: got %q, want %q", tt.o, tt.sub, buf.String(), tt.want)
		}
	}
}

func TestLinesOfSubtasksStayWhole(t *testing.T) {
	var buf bytes.Buffer
	s := Print[string](Options{To: &buf})
	var wg sync.WaitGroup
	for i := range 4 {
		w, err := s.OpenWriter(ctx, millrace.Subtask{Index: i, Of: 4})
		if err != nil {
			t.Fatal(err)
		}
		wg.Go(func() {
			for range 100 {
				w.Write(ctx, []string{"one", "two"})
			}
		})
	}
	wg.Wait()
	lines := strings.Split(strings.TrimSuffix(buf.String(), "\n"), "\n")
	if len(lines) != 800 {
		t.Errorf("%d lines", len(lines))
	}
	for _, l := range lines {
		if _, rest, _ := strings.Cut(l, "> "); rest != "one" && rest != "two" {
			t.Fatalf("line %q", l)
		}
	}
}

// The program under test: it prints until it is told not to.
func TestMain(m *testing.M) {
	switch os.Getenv("STDIO_TEST") {
	case "":
		os.Exit(m.Run())
	case "closed":
		syscall.Close(1)
	}
	w, err := Print[string]().OpenWriter(ctx, millrace.Subtask{Of: 1})
	for range 100_000 {
		if err == nil {
			err = w.Write(ctx, []string{"a line of some length, so that a pipe is full before long"})
		}
	}
	if err == nil {
		os.Exit(0)
	}
	os.Stderr.WriteString(err.Error())
	os.Exit(3)
}

func TestAClosedStandardOutputIsAnErrorThatSaysSo(t *testing.T) {
	for mode, want := range map[string]string{
		"closed": "stdio: standard output is closed: dup: bad file descriptor",
		"pipe":   "stdio: standard output is closed: the program that read it has gone: write ",
	} {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "STDIO_TEST="+mode)
		var stderr bytes.Buffer
		cmd.Stderr = &stderr
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd.Stdout = w
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		r.Close() // nobody reads
		err = cmd.Wait()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != 3 || !strings.HasPrefix(stderr.String(), want) {
			t.Errorf("%s: %v, %q; want %q", mode, err, stderr.String(), want)
		}
	}
}

func TestAFullDeviceIsAnError(t *testing.T) {
	f, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("this system has no /dev/full")
	}
	defer f.Close()
	w, err := Print[string](Options{To: f}).OpenWriter(ctx, millrace.Subtask{Of: 1})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Write(ctx, []string{"x"}); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
}
