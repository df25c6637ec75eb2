// A source that counts and a sink that appends to one file per subtask.
//
//	go run ./custom --count 1000 --out out/numbers
package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/millrace/millrace"
)

func main() { millrace.Main("custom", custom) }

func custom(job *millrace.Job) {
	n := job.ParamInt("count", 1000, "numbers to make")
	out := job.Param("out", "out/numbers", "folder of the files to append to")
	job.From("numbers", numbers(n)).To("files", dir(out))
	job.OnEnd(func() error {
		_, err := fmt.Printf("%d numbers are in %s\n", n, out)
		return err
	})
}

// numbers is a source of the numbers below it, the even and the odd ones apart.
type numbers uint64

func (numbers) Bounded() bool { return true }
func (numbers) Splits(context.Context, int) ([]millrace.Split, error) {
	return []millrace.Split{{ID: "even", Data: []byte{0}}, {ID: "odd", Data: []byte{1}}}, nil
}
func (n numbers) Open(_ context.Context, s millrace.Split, at millrace.Position) (millrace.Reader[uint64], error) {
	c := &counter{next: uint64(s.Data[0]), end: uint64(n)}
	if at != nil {
		c.next = binary.BigEndian.Uint64(at)
	}
	return c, nil
}

type counter struct{ next, end uint64 }

func (c *counter) Read(_ context.Context, out *millrace.Rows[uint64]) error {
	for ; c.next < c.end; c.next += 2 {
		if out.Room() == 0 {
			return nil
		}
		out.Append(c.next)
	}
	return io.EOF
}
func (c *counter) Position() millrace.Position { return binary.BigEndian.AppendUint64(nil, c.next) }
func (c *counter) Close() error                { return nil }

type dir string

func (d dir) OpenWriter(_ context.Context, sub millrace.Subtask) (millrace.Writer[uint64], error) {
	if err := os.MkdirAll(string(d), 0o777); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(string(d), fmt.Sprint(sub.Index)), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o666)
	return file{f}, err
}

type file struct{ *os.File }

func (f file) Write(_ context.Context, ns []uint64) error {
	_, err := fmt.Fprintln(f.File, ns)
	return err
}
func (f file) Flush(context.Context) error { return f.Sync() }
