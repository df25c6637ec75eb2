package nexmark

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/benchmarks/jobs"
)

// logged is a row of q10.
type logged struct {
	Auction, Bidder, Price, DateTime int64
	Extra                            string
	Day                              Day
	Minute                           Minute
}

func logBids(p *plan) {
	rows := p.bids().MapTo(func(b *Bid, r *logged) {
		*r = logged{b.Auction, b.Bidder, b.Price, b.DateTime, b.Extra, dayOf(b.DateTime), minuteOf(b.DateTime)}
	})
	sink := &partitionSink{dir: p.setup.Files}
	if p.setup.Output == "" {
		sink.tally = p.sink
	} else {
		emit(p, rows, func(dst []byte, r *logged) []byte {
			dst = appendInt(dst, `{"auction":`, r.Auction)
			dst = appendInt(dst, `,"bidder":`, r.Bidder)
			dst = appendInt(dst, `,"price":`, r.Price)
			dst = appendTime(dst, `,"dateTime":`, r.DateTime)
			dst = appendString(dst, `,"extra":`, r.Extra)
			dst = appendDay(dst, `,"dt":`, r.Day)
			return append(appendMinute(dst, `,"hm":`, r.Minute), '}')
		})
	}
	rows.To("files", sink)
}

// partitionSink writes rows to files of CSV in a folder for each minute of
// event time, dt=2026-11-22/hm=23%3A59, as the reference does: the colon is
// escaped, and the columns that name the folder are not in the file. Every
// subtask writes files of its own. They have their names when they are
// complete, and a folder in which all are has a file _SUCCESS.
type partitionSink struct {
	dir   string
	tally *jobs.Tally // may be nil
}

// OpenWriter implements [millrace.Sink].
func (s *partitionSink) OpenWriter(_ context.Context, sub millrace.Subtask) (millrace.Writer[logged], error) {
	return &partitionWriter{partitionSink: s, name: "part-" + strconv.Itoa(sub.Index) + "-", open: map[partition]*partitionFile{}}, nil
}

// openPartitions is how many files a writer has open at most. Bids come nearly
// in order, so that few minutes are written to at a time.
const openPartitions = 16

type partition struct {
	day    Day
	minute Minute
}

type partitionWriter struct {
	*partitionSink
	name   string
	open   map[partition]*partitionFile
	last   *partitionFile // of the row before
	files  int
	rows   int64
	buf    []byte
	folder []string // with complete files
}

type partitionFile struct {
	partition
	used int64 // number of the last row
	path string
	file *os.File
	out  *bufio.Writer
}

// Write implements [millrace.Writer].
func (w *partitionWriter) Write(_ context.Context, rows []logged) error {
	if w.rows == 0 && w.tally != nil {
		w.tally.Arrived()
	}
	for i := range rows {
		r := &rows[i]
		f := w.last
		if f == nil || f.day != r.Day || f.minute != r.Minute {
			var err error
			if f, err = w.partition(partition{r.Day, r.Minute}); err != nil {
				return err
			}
			w.last = f
		}
		w.rows++
		f.used = w.rows
		w.buf = appendLogged(w.buf[:0], r)
		if _, err := f.out.Write(w.buf); err != nil {
			return fmt.Errorf("write %s: %w", f.path, err)
		}
	}
	return nil
}

// partition returns the open file of a minute.
func (w *partitionWriter) partition(at partition) (*partitionFile, error) {
	if f := w.open[at]; f != nil {
		return f, nil
	}
	if len(w.open) == openPartitions {
		var oldest *partitionFile
		for _, f := range w.open {
			if oldest == nil || f.used < oldest.used {
				oldest = f
			}
		}
		if err := w.complete(oldest); err != nil {
			return nil, err
		}
	}
	dir := filepath.Join(w.dir, "dt="+string(at.day.append(nil)), "hm="+strings.Replace(string(at.minute.append(nil)), ":", "%3A", 1))
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return nil, fmt.Errorf("make partition: %w", err)
	}
	f := &partitionFile{partition: at, path: filepath.Join(dir, w.name+strconv.Itoa(w.files))}
	w.files++
	var err error
	if f.file, err = os.Create(inProgress(f.path)); err != nil {
		return nil, fmt.Errorf("make file of partition: %w", err)
	}
	f.out = bufio.NewWriterSize(f.file, 64<<10)
	w.open[at] = f
	return f, nil
}

// inProgress is what a file is called until it is complete.
func inProgress(path string) string {
	return filepath.Join(filepath.Dir(path), "."+filepath.Base(path)+".inprogress")
}

func (w *partitionWriter) complete(f *partitionFile) error {
	delete(w.open, f.partition)
	if w.last == f {
		w.last = nil
	}
	err := f.out.Flush()
	if cerr := f.file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(inProgress(f.path), f.path)
	}
	if err != nil {
		return fmt.Errorf("complete %s: %w", f.path, err)
	}
	w.folder = append(w.folder, filepath.Dir(f.path))
	return nil
}

// Flush implements [millrace.Writer].
func (w *partitionWriter) Flush(context.Context) error {
	for _, f := range w.open {
		if err := w.complete(f); err != nil {
			return err
		}
	}
	for _, dir := range w.folder {
		if err := os.WriteFile(filepath.Join(dir, "_SUCCESS"), nil, 0o666); err != nil {
			return fmt.Errorf("commit partition: %w", err)
		}
	}
	w.folder = nil
	return nil
}

// Close implements [millrace.Writer].
func (w *partitionWriter) Close() error {
	if w.tally != nil {
		w.tally.Add(w.rows)
		w.rows = 0
	}
	var errs []error
	for _, f := range w.open {
		errs = append(errs, f.file.Close(), os.Remove(inProgress(f.path)))
	}
	w.open = nil
	return errors.Join(errs...)
}

// appendLogged appends a line of CSV.
func appendLogged(dst []byte, r *logged) []byte {
	dst = append(strconv.AppendInt(dst, r.Auction, 10), ',')
	dst = append(strconv.AppendInt(dst, r.Bidder, 10), ',')
	dst = append(strconv.AppendInt(dst, r.Price, 10), ',', '"')
	at := len(dst) + len("2026-11-22")
	dst = AppendMillis(dst, r.DateTime)
	dst[at] = ' '
	dst = append(dst, '"', ',')
	if !quoted(r.Extra) {
		return append(append(dst, r.Extra...), '\n')
	}
	dst = append(dst, '"')
	for s := r.Extra; ; {
		i := strings.IndexByte(s, '"')
		if i < 0 {
			return append(append(dst, s...), '"', '\n')
		}
		dst = append(append(dst, s[:i]...), '"', '"')
		s = s[i+1:]
	}
}

// quoted reports whether a text is put into quotes. So that files are of the
// reference's size, long texts are, and those with a character up to the
// comma.
func quoted(s string) bool {
	if len(s) > 24 {
		return true
	}
	for i := range len(s) {
		if s[i] <= ',' {
			return true
		}
	}
	return false
}
