package files

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
)

// WriteOptions configures a sink. Zero fields take the defaults given.
type WriteOptions struct {
	RollBytes   int64  // a file that has reached it is ended; 128 MiB
	RollRecords int64  // a file that has reached it is ended; no limit
	Prefix      string // start of the names of files; "part-"
	// Suffix is the end of the names of files. One that ends in .gz or .zst
	// compresses the files. The format's own, such as ".csv".
	Suffix      string
	OpenFileMax int        // files a subtask has open in buckets at once; 64
	FS          FileSystem // where the location is; what its scheme says
}

const rollBytes = 128 << 20

const openFileMax = 64

// Write is a sink that writes files named <prefix><subtask>-<number><suffix>
// into a directory, which is made if it is missing; files there before stay.
//
// A file is written under a name that starts with "." and gets its own name
// when a flush or a checkpoint has made it durable: nobody sees a part of a
// file, and every flush ends the files that are open. What was not flushed is
// removed when the writer is closed; a process that dies leaves it behind
// under its hidden name.
//
// In a job that takes checkpoints every record is delivered exactly once:
// files are ended at each checkpoint and get their names when it is complete,
// whatever dies in between. They are then called
// <prefix><subtask>-<word>-<number><suffix>, where the word is another one in
// every attempt, and wait in a hidden folder of the location. The job's next
// attempt empties that of what a process that died has left. A job that is
// started from an old savepoint, behind what is visible already, writes that
// again: files are never taken back.
func Write[T any](location string, f format.Format[T], opts ...WriteOptions) BucketSink[T] {
	s := BucketSink[T]{location: location, format: f}
	if len(opts) > 0 {
		s.o = opts[0]
	}
	return s
}

// WriteFile is a sink that writes the whole output of a bounded job to one
// file, which replaces what has its name once the output is complete. It is
// written by one subtask (see [millrace.SingleWriter]). Folders that are
// missing are made. The file is there, without records, when there was no
// output.
//
// In a job that takes checkpoints the output is kept in a hidden file for each
// checkpoint, from which the one file is written at the end.
func WriteFile[T any](name string, f format.Format[T], opts ...WriteOptions) millrace.Sink[T] {
	s := Write(name, f, opts...)
	s.single = true
	return s
}

// BucketSink is the sink that [Write] makes.
type BucketSink[T any] struct {
	location string
	format   format.Format[T]
	o        WriteOptions
	bucket   func(T) string
	single   bool
}

// BucketBy returns a sink that puts each record into the directory below the
// location that f gives, such as "day=2025-07-01"; "" is the location itself.
func (s BucketSink[T]) BucketBy(f func(T) string) BucketSink[T] {
	s.bucket = f
	return s
}

// SingleWriter implements [millrace.SingleWriter]: one file has one writer.
func (s BucketSink[T]) SingleWriter() bool { return s.single }

// OpenWriter opens the writer of a subtask. The writer is a
// [millrace.Transaction] too.
func (s BucketSink[T]) OpenWriter(_ context.Context, sub millrace.Subtask) (millrace.Writer[T], error) {
	fsys, name, err := resolve(s.location, s.o.FS)
	if err != nil {
		return nil, err
	}
	w := &writer[T]{sink: s, fs: fsys, dir: name, sub: sub, open: map[string]*part[T]{}, next: map[string]int{}}
	w.o = s.o
	if w.o.RollBytes <= 0 {
		w.o.RollBytes = rollBytes
	}
	if w.o.OpenFileMax <= 0 {
		w.o.OpenFileMax = openFileMax
	}
	if w.o.Prefix == "" {
		w.o.Prefix = "part-"
	}
	if w.o.Suffix == "" {
		w.o.Suffix = s.format.Extension()
	}
	if strings.ContainsAny(w.o.Prefix+w.o.Suffix, "/") || hidden(w.o.Prefix) {
		return nil, fmt.Errorf("files: %s: files cannot be named %s0-0%s: a name has no / and does not start with . or _", s.location, w.o.Prefix, w.o.Suffix)
	}
	if s.single {
		if sub.Of > 1 {
			return nil, fmt.Errorf("files: %s: one file cannot be written by %d subtasks: give the sink a parallelism of 1, or use files.Write", s.location, sub.Of)
		}
		w.o.Suffix = path.Base(name)
		w.dir = path.Dir(name)
		w.o.RollRecords = 0 // there is nothing to roll to
	}
	if err := fsys.MkdirAll(w.dir); err != nil {
		return nil, fmt.Errorf("files: %w", err)
	}
	switch {
	case sub.Checkpointed:
		w.stage = path.Join(w.dir, stageOf(sub))
	case s.single:
		if err := w.startSingle(); err != nil {
			return nil, err
		}
	}
	return w, nil
}

// writer writes the files of one subtask.
type writer[T any] struct {
	// Set by OpenWriter, never written again.
	sink  BucketSink[T]
	o     WriteOptions
	fs    FileSystem
	dir   string
	sub   millrace.Subtask
	stage string // where files wait for their checkpoint; empty without

	open   map[string]*part[T] // by bucket
	done   []sealed            // ended, not yet prepared
	next   map[string]int      // number of the next file, by bucket
	staged int                 // number of the next file in stage
	parts  []sealed            // of a single file, prepared

	adopted  bool // parts are those of an earlier attempt, and not looked at
	finished bool // a single file is complete
	ended    bool // no more records will come
	failed   error
	groups   map[string][]T // scratch of Write
	order    []string
}

// move is what makes a file visible.
type move struct{ From, To string }

// part is a file being written.
type part[T any] struct {
	move    move
	file    FileWriter
	out     *counted
	comp    interface{ Close() error }
	enc     format.Encoder[T]
	records int64
}

// counted counts and sums up the bytes that reach a file.
type counted struct {
	w   FileWriter
	n   int64
	sum uint32
}

func (c *counted) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	c.sum = crc32.Update(c.sum, castagnoli, p[:n])
	return n, err
}

func (w *writer[T]) Write(_ context.Context, recs []T) error {
	if w.failed != nil {
		return w.failed
	}
	if len(recs) == 0 {
		return nil
	}
	if w.finished {
		return w.fail(fmt.Errorf("files: %s is complete and cannot take more records: files.WriteFile is for output that is flushed once, at its end; use files.Write", w.sink.location))
	}
	if err := w.checkParts(); err != nil {
		return w.fail(err)
	}
	if w.sink.bucket == nil {
		return w.writeTo("", recs)
	}
	if w.groups == nil {
		w.groups = map[string][]T{}
	}
	for _, r := range recs {
		b := w.sink.bucket(r)
		g, known := w.groups[b]
		if !known || len(g) == 0 {
			w.order = append(w.order, b)
		}
		w.groups[b] = append(g, r)
	}
	defer func() {
		// Buckets come and go, as days do: keep scratch for a few only.
		if len(w.groups) > 4*w.o.OpenFileMax {
			w.groups = nil
		}
		for _, b := range w.order {
			if w.groups != nil {
				clear(w.groups[b])
				w.groups[b] = w.groups[b][:0]
			}
		}
		w.order = w.order[:0]
	}()
	for _, b := range w.order {
		if err := w.writeTo(b, w.groups[b]); err != nil {
			return err
		}
	}
	return nil
}

// writeTo writes records of one bucket.
func (w *writer[T]) writeTo(bucket string, recs []T) error {
	for len(recs) > 0 {
		p := w.open[bucket]
		if p == nil {
			var err error
			if p, err = w.start(bucket); err != nil {
				return w.fail(err)
			}
		}
		n := int64(len(recs))
		if w.o.RollRecords > 0 {
			n = min(n, w.o.RollRecords-p.records)
		}
		if err := p.enc.Encode(recs[:n]); err != nil {
			return w.fail(fmt.Errorf("files: write %s: %w", p.move.From, err))
		}
		p.records += n
		recs = recs[n:]
		if !w.sink.single && (p.out.n >= w.o.RollBytes || w.o.RollRecords > 0 && p.records >= w.o.RollRecords) {
			if err := w.end(bucket); err != nil {
				return w.fail(err)
			}
		}
	}
	return nil
}

// start opens the next file of a bucket.
func (w *writer[T]) start(bucket string) (*part[T], error) {
	if len(w.open) >= w.o.OpenFileMax {
		if err := w.endLargest(); err != nil {
			return nil, err
		}
	}
	dir := w.dir
	if bucket != "" {
		// A bucket is below the location whatever it is called.
		dir = path.Join(w.dir, path.Clean("/"+bucket))
	}
	if w.stage != "" {
		return w.startStaged(bucket, dir)
	}
	if err := w.fs.MkdirAll(dir); err != nil {
		return nil, fmt.Errorf("files: bucket %q: %w", bucket, err)
	}
	stem := w.o.Prefix + strconv.Itoa(w.sub.Index) + "-"
	n, known := w.next[bucket]
	if !known {
		es, err := w.fs.List(dir)
		if err != nil {
			return nil, fmt.Errorf("files: bucket %q: %w", bucket, err)
		}
		for _, e := range es {
			n = max(n, numberIn(e.Name, stem)+1)
		}
	}
	for {
		name := stem + strconv.Itoa(n) + w.o.Suffix
		m := move{path.Join(dir, "."+name+".inprogress"), path.Join(dir, name)}
		n++
		f, err := w.fs.Create(m.From)
		if errors.Is(err, fs.ErrExist) {
			continue // another attempt of this subtask took the number
		}
		if err != nil {
			return nil, fmt.Errorf("files: %w", err)
		}
		w.next[bucket] = n
		return w.begin(bucket, m, f)
	}
}

// numberIn is the number in a file's name after stem, hidden or not; -1 if
// there is none.
func numberIn(name, stem string) int {
	rest, ok := strings.CutPrefix(strings.TrimPrefix(name, "."), stem)
	if !ok {
		return -1
	}
	end := 0
	for end < len(rest) && rest[end] >= '0' && rest[end] <= '9' {
		end++
	}
	n, err := strconv.Atoi(rest[:end])
	if err != nil {
		return -1
	}
	return n
}

func (w *writer[T]) startSingle() error {
	to := path.Join(w.dir, w.o.Suffix)
	m := move{path.Join(w.dir, "."+w.o.Suffix+".inprogress"), to}
	// One subtask writes: what is there is of an attempt that died.
	if err := w.fs.Remove(m.From); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("files: %w", err)
	}
	f, err := w.fs.Create(m.From)
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	_, err = w.begin("", m, f)
	return err
}

func (w *writer[T]) begin(bucket string, m move, f FileWriter) (*part[T], error) {
	p := &part[T]{move: m, file: f, out: &counted{w: f}}
	z, err := format.Compress(p.out, format.CompressionOf(w.o.Suffix))
	if err == nil {
		p.comp = z
		p.enc, err = w.sink.format.Encode(z)
	}
	if err != nil {
		return nil, fmt.Errorf("files: write %s: %w", m.From, errors.Join(err, f.Close(), w.fs.Remove(m.From)))
	}
	w.open[bucket] = p
	return p, nil
}

// endLargest makes room for another open file.
func (w *writer[T]) endLargest() error {
	var largest string
	records := int64(-1)
	for b, p := range w.open {
		if p.records > records || p.records == records && b < largest {
			largest, records = b, p.records
		}
	}
	return w.end(largest)
}

// end finishes a file and makes it durable under its hidden name.
func (w *writer[T]) end(bucket string) error {
	p := w.open[bucket]
	err := p.enc.Close()
	if err == nil {
		err = p.comp.Close()
	}
	if err == nil {
		err = p.file.Sync()
	}
	if err != nil {
		return fmt.Errorf("files: write %s: %w", p.move.From, err)
	}
	delete(w.open, bucket)
	w.done = append(w.done, sealed{p.move, p.out.n, p.out.sum})
	if err := p.file.Close(); err != nil {
		return fmt.Errorf("files: write %s: %w", p.move.From, err)
	}
	return nil
}

// fail remembers the first error, with what it leaves behind: a file with a
// hole in it must not become visible.
func (w *writer[T]) fail(err error) error {
	n := len(w.open) + len(w.done)
	var bytes int64
	for _, p := range w.open {
		bytes += p.out.n
	}
	w.failed = fmt.Errorf("%w; %d files under hidden names (%d bytes in those not ended) are left in %s until the writer is closed; files with their own names are whole", err, n, bytes, w.dir)
	return w.failed
}

// Flush makes what was written durable and visible.
func (w *writer[T]) Flush(ctx context.Context) error {
	if err := w.End(ctx); err != nil {
		return err
	}
	token, err := w.Prepare(ctx)
	if err != nil || token == nil {
		return err
	}
	return w.Commit(ctx, token)
}

// Close removes what was neither flushed nor prepared.
func (w *writer[T]) Close() error {
	var errs []error
	remove := func(m move) {
		if err := w.fs.Remove(m.From); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	for _, p := range w.open {
		// The file is thrown away: an error of its last bytes does not matter.
		_ = p.comp.Close()
		_ = p.file.Close()
		remove(p.move)
	}
	for _, f := range w.done {
		remove(f.move)
	}
	w.open, w.done = nil, nil
	if w.staged > 0 {
		// Others may have files in it; who is the last removes it.
		_ = w.fs.Remove(w.stage)
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("files: remove what was not finished: %w", err)
	}
	return nil
}
