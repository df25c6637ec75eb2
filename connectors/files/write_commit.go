package files

import (
	"context"
	"crypto/sha256"
	"encoding/base32"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"maps"
	"math"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/format"
)

// A file of a job that takes checkpoints goes through these places:
//
//	<location>/.millrace-<owner>/.<subtask>.<attempt>.<name>.inprogress
//	<location>/<bucket>/<name>
//
// It is written, ended and made durable in the first and renamed to the second
// when its checkpoint is complete. The owner stands for the run of the job and
// the operator, so that the folder holds no other's files, and a later attempt
// knows all that are left of earlier ones by their names.

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

const (
	stagePrefix  = ".millrace-"
	stagedSuffix = ".inprogress"
)

// stageOf is the name of the folder in which files of sub's operator wait.
func stageOf(sub millrace.Subtask) string {
	h := sha256.New()
	for _, s := range []string{sub.Run, sub.Job, sub.Operator} {
		fmt.Fprintf(h, "%d %s\n", len(s), s)
	}
	return stagePrefix + strings.ToLower(base32.HexEncoding.EncodeToString(h.Sum(nil)[:10]))
}

// token is what a checkpoint keeps of a transaction, as JSON.
type token struct {
	Version int
	// Files are to be renamed.
	Files []sealed `json:",omitempty"`
	// Parts are what a single file will be made of: all so far, in order.
	Parts []sealed `json:",omitempty"`
	// Remove are files that are not needed when Files have their names.
	Remove []string `json:",omitempty"`
	// Done: a single file is complete; there is nothing more to do, ever.
	Done bool `json:",omitempty"`
}

const tokenVersion = 1

// sealed is a file that is whole and durable.
type sealed struct {
	move
	Bytes int64
	Sum   uint32 // CRC-32C
}

// startStaged opens the next file of a bucket whose directory is dir.
func (w *writer[T]) startStaged(bucket, dir string) (*part[T], error) {
	m := w.stagedMove(dir)
	for {
		if !utf8.ValidString(m.From + m.To) {
			return nil, fmt.Errorf("files: %q: the name is not text in UTF-8", m.To)
		}
		f, err := w.fs.Create(m.From)
		switch {
		case errors.Is(err, fs.ErrExist):
			m = w.stagedMove(dir)
			continue
		case errors.Is(err, fs.ErrNotExist):
			// Not made yet, or removed by another subtask that was the last
			// to need it.
			if err := w.fs.MkdirAll(w.stage); err != nil {
				return nil, fmt.Errorf("files: %w", err)
			}
			continue
		case err != nil:
			return nil, fmt.Errorf("files: %w", err)
		}
		return w.begin(bucket, m, f)
	}
}

// stagedMove names the next file in stage.
func (w *writer[T]) stagedMove(dir string) move {
	name := strconv.Itoa(w.sub.Index) + "-" + w.sub.Unique + "-" + strconv.Itoa(w.staged)
	w.staged++
	to := path.Join(dir, w.o.Prefix+name+w.o.Suffix)
	if w.sink.single {
		name, to = name+"-"+w.o.Suffix, path.Join(dir, w.o.Suffix)
	} else {
		name = path.Base(to)
	}
	from := fmt.Sprintf(".%d.%d.%s%s", w.sub.Index, w.sub.Attempt, name, stagedSuffix)
	return move{path.Join(w.stage, from), to}
}

// own reports whether this writer has written a staged file.
func (w *writer[T]) own(f sealed) bool {
	return w.sub.Unique != "" && strings.Contains(path.Base(f.From), "-"+w.sub.Unique+"-")
}

// End implements [millrace.Ender].
func (w *writer[T]) End(context.Context) error {
	w.ended = true
	return nil
}

// Prepare ends the open files and makes them durable. The token names the
// files to rename.
func (w *writer[T]) Prepare(ctx context.Context) ([]byte, error) {
	if w.failed != nil {
		return nil, w.failed
	}
	if w.sink.single && w.stage != "" {
		return w.prepareSingle(ctx)
	}
	files, err := w.seal()
	if err != nil {
		return nil, err
	}
	w.finished = w.sink.single
	return w.encode(token{Files: files})
}

// seal ends the open files and returns those ended since the last call.
func (w *writer[T]) seal() ([]sealed, error) {
	for _, b := range slices.Sorted(maps.Keys(w.open)) {
		if err := w.end(b); err != nil {
			return nil, w.fail(err)
		}
	}
	files := w.done
	var from []string
	for _, f := range files {
		from = append(from, f.From)
	}
	if err := w.syncAbove(from); err != nil {
		return nil, w.fail(fmt.Errorf("files: %w", err))
	}
	w.done = nil
	return files, nil
}

// syncAbove makes names of files durable, and those of the folders they are in
// below the location.
func (w *writer[T]) syncAbove(names []string) error {
	dirs := map[string]bool{}
	for _, name := range names {
		dir := path.Dir(name)
		for !dirs[dir] {
			dirs[dir] = true
			if dir == w.dir || !strings.HasPrefix(dir, strings.TrimSuffix(w.dir, "/")+"/") {
				break
			}
			dir = path.Dir(dir)
		}
	}
	for _, dir := range slices.Backward(slices.Sorted(maps.Keys(dirs))) {
		if err := w.fs.SyncDir(dir); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer[T]) encode(t token) ([]byte, error) {
	if len(t.Files) == 0 && len(t.Parts) == 0 && !t.Done {
		return nil, nil
	}
	t.Version = tokenVersion
	b, err := json.Marshal(t)
	if err != nil {
		return nil, w.fail(fmt.Errorf("files: %w", err))
	}
	return b, nil
}

// prepareSingle ends the part of a single file that is open. The token has all
// parts so far, for those of earlier checkpoints are committed and forgotten.
func (w *writer[T]) prepareSingle(ctx context.Context) ([]byte, error) {
	if w.finished {
		return w.encode(token{Done: true}) // for whoever goes on from here
	}
	if err := w.checkParts(); err != nil {
		return nil, w.fail(err)
	}
	if w.ended && len(w.open) == 0 && len(w.parts) == 0 {
		if _, err := w.start(""); err != nil { // a file without records
			return nil, w.fail(err)
		}
	}
	files, err := w.seal()
	if err != nil {
		return nil, err
	}
	w.parts = append(w.parts, files...)
	if !w.ended {
		return w.encode(token{Parts: w.parts})
	}
	t := token{Files: w.parts}
	if len(w.parts) > 1 {
		for _, f := range w.parts {
			t.Remove = append(t.Remove, f.From)
		}
		if t.Files, err = w.assemble(ctx); err != nil {
			return nil, w.fail(err)
		}
	}
	w.finished = true
	return w.encode(t)
}

// assemble writes the parts of a single file into one.
func (w *writer[T]) assemble(ctx context.Context) ([]sealed, error) {
	p, err := w.start("")
	if err != nil {
		return nil, err
	}
	const rows = 1024
	out := millrace.NewRows[T](rows)
	for _, f := range w.parts {
		if err := w.readPart(ctx, f, out, p.enc.Encode); err != nil {
			return nil, fmt.Errorf("files: put %s together: %w", p.move.To, err)
		}
	}
	return w.seal()
}

// readPart reads the records of a part.
func (w *writer[T]) readPart(ctx context.Context, f sealed, out *millrace.Rows[T], to func([]T) error) (err error) {
	if err := w.check(f, true); err != nil {
		return err
	}
	file, err := w.fs.Open(f.From)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	in := &format.Input{Path: f.From, R: file, Size: f.Bytes, Compression: format.CompressionOf(w.o.Suffix)}
	all := format.Range{To: f.Bytes}
	if in.Compression != format.None {
		all.To = math.MaxInt64
	}
	r, err := w.sink.format.Open(in, all, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	for {
		out.Reset()
		rerr := r.Read(ctx, out)
		if rerr != nil && rerr != io.EOF {
			return rerr
		}
		for _, bad := range out.BadRecords() {
			return fmt.Errorf("it does not read as it was written: %w", bad)
		}
		if recs := out.Records(); len(recs) > 0 {
			if err := to(recs); err != nil {
				return err
			}
		}
		if rerr == io.EOF {
			return nil
		}
	}
}

// Commit gives the files of a token their own names; those that have them
// already are left alone.
func (w *writer[T]) Commit(_ context.Context, encoded []byte) error {
	var t token
	if err := json.Unmarshal(encoded, &t); err != nil {
		return fmt.Errorf("files: %s: token of a transaction: %w", w.sink.location, err)
	}
	if t.Version != tokenVersion {
		return fmt.Errorf("files: %s: token of a transaction has version %d, and this program knows %d", w.sink.location, t.Version, tokenVersion)
	}
	if w.sink.single {
		w.adopt(t)
	}
	made := map[string]bool{}
	var to []string
	for _, f := range t.Files {
		if dir := path.Dir(f.To); !made[dir] {
			made[dir] = true
			if err := w.fs.MkdirAll(dir); err != nil {
				return fmt.Errorf("files: commit %s: %w", f.To, err)
			}
		}
		if err := w.show(f); err != nil {
			return fmt.Errorf("files: commit %s: %w", f.To, err)
		}
		to = append(to, f.To)
	}
	// What has been renamed by an attempt that died may not be durable yet.
	if err := w.syncAbove(to); err != nil {
		return fmt.Errorf("files: commit %s: %w", w.sink.location, err)
	}
	for _, name := range t.Remove {
		_ = w.fs.Remove(name) // if it stays, it is hidden and Clean's
	}
	return nil
}

// show renames a file, unless that was done before.
func (w *writer[T]) show(f sealed) error {
	// Reading back what this writer has written and synced itself would find
	// no more than its size tells.
	err := w.check(f, w.stage != "" && !w.own(f))
	if err == nil {
		return w.fs.Rename(f.From, f.To)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	e, serr := w.fs.Stat(f.To)
	switch {
	case errors.Is(serr, fs.ErrNotExist):
		return fmt.Errorf("its %d bytes are lost: there is neither the file nor %s: %w", f.Bytes, f.From, fs.ErrNotExist)
	case serr != nil:
		return serr
	case e.Size != f.Bytes:
		return fmt.Errorf("its %d bytes are lost: %s is not there, and the file has %d bytes", f.Bytes, f.From, e.Size)
	}
	return nil // committed before
}

// check compares a hidden file with what it was when it was sealed.
func (w *writer[T]) check(f sealed, content bool) (err error) {
	e, err := w.fs.Stat(f.From)
	if err != nil {
		return err
	}
	if e.Size != f.Bytes {
		return fmt.Errorf("%s is damaged: it has %d bytes and had %d", f.From, e.Size, f.Bytes)
	}
	if !content {
		return nil
	}
	file, err := w.fs.Open(f.From)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	h := crc32.New(castagnoli)
	if _, err := io.Copy(h, io.NewSectionReader(file, 0, f.Bytes)); err != nil {
		return err
	}
	if sum := h.Sum32(); sum != f.Sum {
		return fmt.Errorf("%s is damaged: its %d bytes have the checksum %08x and had %08x", f.From, f.Bytes, sum, f.Sum)
	}
	return nil
}

// adopt goes on from where the writer of a token of a single file was. Whether
// the parts are there is not looked at yet: the next token may be the last,
// which has made one file of them before.
func (w *writer[T]) adopt(t token) {
	switch {
	case t.Done, len(t.Files) > 0:
		w.finished = true
	case len(t.Parts) > len(w.parts):
		w.parts, w.adopted = t.Parts, true
	}
}

// checkParts checks the parts of a single file that an earlier attempt wrote,
// before anything is added to them.
func (w *writer[T]) checkParts() error {
	if !w.adopted || w.finished {
		return nil
	}
	for _, f := range w.parts {
		if err := w.check(f, false); err != nil {
			return fmt.Errorf("files: %s cannot be continued: part of it is lost: %w", w.sink.location, err)
		}
	}
	w.adopted = false
	return nil
}

// Clean implements [millrace.Cleaner].
func (w *writer[T]) Clean(ctx context.Context) error {
	if w.stage == "" || w.sub.Run == "" {
		return nil
	}
	es, err := w.fs.List(w.stage)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("files: %w", err)
	}
	keep := map[string]bool{}
	for _, f := range w.parts {
		keep[path.Base(f.From)] = true
	}
	var errs []error
	for _, e := range es {
		if keep[e.Name] || e.Dir || !w.stale(e.Name) {
			continue
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := w.fs.Remove(path.Join(w.stage, e.Name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("files: %w", err)
	}
	// It stays if it is needed.
	_ = w.fs.Remove(w.stage)
	return nil
}

// stale reports whether a file in stage is of an earlier attempt and this
// subtask's to remove.
func (w *writer[T]) stale(name string) bool {
	rest, ok := strings.CutPrefix(name, ".")
	if !ok || !strings.HasSuffix(name, stagedSuffix) {
		return false
	}
	index, rest, _ := strings.Cut(rest, ".")
	attempt, _, ok := strings.Cut(rest, ".")
	i, err1 := strconv.Atoi(index)
	a, err2 := strconv.ParseInt(attempt, 10, 64)
	return ok && err1 == nil && err2 == nil && i >= 0 && i%w.sub.Of == w.sub.Index && a < w.sub.Attempt
}
