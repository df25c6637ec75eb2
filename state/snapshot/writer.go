package snapshot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/millrace/millrace/state/blob"
)

// The Group of a [Piece] that belongs to no key group.
const (
	// OperatorGroup: shared out among the subtasks.
	OperatorGroup = -1
	// UnionGroup: every subtask gets a copy.
	UnionGroup = -2
	// BroadcastGroup: the same in every subtask.
	BroadcastGroup = -3
)

// A Piece is a part of what a subtask snapshots: one named state's entries in
// one key group, or operator state.
type Piece struct {
	// State is the state's name within the operator.
	State string
	// Group is the key group, or OperatorGroup, UnionGroup, BroadcastGroup.
	Group int
	// Schema describes the bytes.
	Schema []byte
	// Version, if not 0, changes whenever the piece's bytes may: two pieces of
	// one state, group and incarnation that have the same version are the
	// same. A piece known to the base is then not even encoded.
	Version uint64
	// Encode appends the piece's bytes.
	Encode func(dst []byte) ([]byte, error)
	// Drop, if set, is called instead of Encode when the bytes are not needed.
	// One of the two is called exactly once for each piece given to
	// Writer.Write, whatever becomes of the call.
	Drop func()
}

// A ChannelPiece is the records under way in one channel, see [Channel].
type ChannelPiece struct {
	Output        bool
	Port, Channel int
	Encode        func(dst []byte) ([]byte, error)
}

// A CommitPiece is a transaction that waits for a checkpoint, see [Commit].
type CommitPiece struct {
	Checkpoint uint64
	Data       []byte
}

// A ColdPiece is a file of the cold tier, see [Cold]. Two files of an operator
// with the same store, name and size must have the same content, in all attempts
// of the job: one that the base has is not read again.
type ColdPiece struct {
	Store, Name string
	First, Last int
	Meta        []byte
	// Size is the file's in bytes.
	Size int64
	Open func() (io.ReadCloser, error)
}

// A Part is what one subtask of an operator adds to a snapshot.
type Part struct {
	UID, Name                   string
	Parallelism, MaxParallelism int
	// Subtask is its index, or CoordinatorPart.
	Subtask int
	// Incarnation, if not 0, tells this instance of the subtask's state from
	// all others that wrote checkpoints which may be the base: a random number
	// drawn at its start.
	Incarnation uint64
	Finished    bool
	EndedInputs []int
	Pieces      []Piece
	Splits      []Split // their Subtask is set by Write
	Channels    []ChannelPiece
	Commits     []CommitPiece
	Cold        []ColdPiece
	// Coordinator is the state of the operator's coordinator, nil for none; of
	// a CoordinatorPart only.
	Coordinator []byte
}

// CoordinatorPart is the Subtask of the part that holds what stands beside an
// operator's subtasks, and nothing else.
const CoordinatorPart = -1

// A Partial says where a part is stored. It belongs to whoever called Write, and
// is complete once the writer has been closed.
type Partial struct {
	Operator Operator
	Files    []File
}

// WriterOptions says what a Writer writes. Zero fields take the defaults given.
type WriterOptions struct {
	// Checkpoint and Attempt are those of the snapshot, Worker is who writes
	// its files: one writer for each of these three. Letters, digits, "_.-".
	Checkpoint, Attempt uint64
	Worker              string
	// Base is a retained checkpoint of the same folder whose files may be
	// referred to; without it everything is written. It must stay retained
	// until this one is complete or given up.
	Base *Manifest
	// InlineBytes: parts below it go into the manifest; 20 KiB, negative for
	// none.
	InlineBytes int
	// FileBytes is about the most that a file holds, unless a single piece is
	// larger; 64 MiB. A file is held in memory until it is put.
	FileBytes int64
	// ColdBytes: cold files from this size on become files of their own, and
	// are not held in memory; 8 MiB.
	ColdBytes int64
	// MinLive: a file of the base of which the base needs less than this share
	// is not referred to, so that it can be deleted; 0.5, negative for never.
	MinLive float64
}

// A Writer writes the part of one worker in one snapshot: all of it into one
// file, or a few when it is large. Write may be called by many subtasks at a
// time. After an error the writer is of no use but to be aborted.
type Writer struct {
	store blob.Store
	dir   string // of the data files in the store, with a slash
	up    string // from the manifest to dataDir's folder
	o     WriterOptions
	base  *base

	mu       sync.Mutex
	open     *dataFile
	seq      int
	names    []string // of objects that may be there
	files    map[string]File
	partials []*Partial
	closed   bool
	err      error
}

// Writer returns a writer for a checkpoint in the folder.
func (f *Folder) Writer(o WriterOptions) (*Writer, error) {
	return newWriter(f.store, f.dir, "../", o)
}

// SavepointWriter returns a writer for a savepoint in the folder dir of store.
// It has no base.
func SavepointWriter(store blob.Store, dir string, o WriterOptions) (*Writer, error) {
	if o.Base != nil {
		return nil, fmt.Errorf("savepoint %s: a savepoint has no base", dir)
	}
	return newWriter(store, dir, "", o)
}

func newWriter(store blob.Store, dir, up string, o WriterOptions) (*Writer, error) {
	if err := checkWorker(o.Worker); err != nil {
		return nil, fmt.Errorf("checkpoint %d: %w", o.Checkpoint, err)
	}
	if b := o.Base; b != nil && (b.Kind != Checkpoint || b.Checkpoint >= o.Checkpoint) {
		return nil, fmt.Errorf("checkpoint %d: %s %d cannot be its base", o.Checkpoint, b.Kind, b.Checkpoint)
	}
	if o.InlineBytes == 0 {
		o.InlineBytes = 20 << 10
	}
	if o.FileBytes == 0 {
		o.FileBytes = 64 << 20
	}
	if o.ColdBytes == 0 {
		o.ColdBytes = 8 << 20
	}
	if o.MinLive == 0 {
		o.MinLive = 0.5
	}
	w := &Writer{store: store, dir: slashed(dir), up: up, o: o, files: map[string]File{}}
	if o.Base != nil {
		w.base = newBase(o.Base, o.MinLive)
	}
	return w, nil
}

func slashed(dir string) string {
	if dir == "" || strings.HasSuffix(dir, "/") {
		return dir
	}
	return dir + "/"
}

// Write stores a part. What it returns is complete when Close has returned nil.
// Write keeps nothing of p.
func (w *Writer) Write(ctx context.Context, p Part) (*Partial, error) {
	next := 0 // the first piece that has not been encoded or dropped
	defer func() {
		for i := next; i < len(p.Pieces); i++ {
			if drop := p.Pieces[i].Drop; drop != nil {
				drop()
			}
		}
	}()
	out := &Partial{Operator: Operator{UID: p.UID, Name: p.Name, Parallelism: p.Parallelism, MaxParallelism: p.MaxParallelism}}
	pw := &partWriter{w: w, ctx: ctx}
	err := w.failed()
	if err == nil {
		err = pw.part(&p, &out.Operator, &next)
	}
	if err == nil {
		err = pw.flush()
	}
	if err != nil {
		err = fmt.Errorf("checkpoint %d: operator %q: subtask %d: %w", w.o.Checkpoint, p.UID, p.Subtask, err)
		w.fail(err)
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, fmt.Errorf("checkpoint %d: operator %q: subtask %d: the writer is closed", w.o.Checkpoint, p.UID, p.Subtask)
	}
	w.partials = append(w.partials, out)
	return out, nil
}

func (w *Writer) fail(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil {
		w.err = err
	}
}

func (w *Writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err == nil && w.closed {
		return errors.New("the writer is closed")
	}
	return w.err
}

// Close puts what has not been put yet. All calls of Write have returned.
func (w *Writer) Close(ctx context.Context) error {
	if err := w.failed(); err != nil {
		return err
	}
	w.mu.Lock()
	f := w.open
	w.open = nil
	w.mu.Unlock()
	if f != nil {
		if err := w.put(ctx, f); err != nil {
			err = fmt.Errorf("checkpoint %d: %w", w.o.Checkpoint, err)
			w.fail(err)
			return err
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, p := range w.partials {
		p.Files = w.filesOf(&p.Operator)
	}
	return nil
}

// Abort deletes what the writer has put; it is no longer used. What cannot be
// deleted now, [Folder.Clean] deletes later. All calls of Write have returned.
func (w *Writer) Abort(ctx context.Context) error {
	w.fail(errors.New("the writer was aborted"))
	w.mu.Lock()
	names := w.names
	w.open, w.names = nil, nil
	w.mu.Unlock()
	if len(names) == 0 {
		return nil
	}
	if err := w.store.Delete(ctx, names...); err != nil {
		return fmt.Errorf("checkpoint %d: abort: %w", w.o.Checkpoint, err)
	}
	return nil
}

// filesOf lists the files that an operator's chunks are in.
func (w *Writer) filesOf(o *Operator) []File {
	seen := map[string]bool{}
	var all []File
	for _, c := range o.chunks() {
		if c.File == "" || seen[c.File] {
			continue
		}
		seen[c.File] = true
		f, ok := w.files[c.File]
		if !ok {
			f = w.base.files[c.File]
		}
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b File) int { return strings.Compare(a.Name, b.Name) })
	return all
}

// newNameLocked names the next file.
func (w *Writer) newNameLocked() string {
	w.seq++
	name := dataName(w.o.Checkpoint, w.o.Attempt, w.o.Worker, w.seq)
	w.names = append(w.names, w.dir+name)
	return name
}

// put seals and stores a file.
func (w *Writer) put(ctx context.Context, f *dataFile) error {
	f.seal()
	if err := w.store.PutNew(ctx, w.dir+f.name, f.reader()); err != nil {
		return err
	}
	w.stored(File{Name: w.up + f.name, Size: f.size, XXH64: f.sum})
	return nil
}

func (w *Writer) stored(f File) {
	f.Checkpoint = w.o.Checkpoint
	w.mu.Lock()
	defer w.mu.Unlock()
	w.files[f.Name] = f
}

// place appends blocks, one behind the other, to the open file, and returns the
// file's name and where the first begins. A file that is full is put by whoever
// finds it so.
func (w *Writer) place(ctx context.Context, blocks []block) (file string, offset int64, err error) {
	size := int64(0)
	for i := range blocks {
		size += blocks[i].size()
	}
	w.mu.Lock()
	var full *dataFile
	if w.open != nil && w.open.size+size+footBytes > w.o.FileBytes {
		full, w.open = w.open, nil
	}
	if w.open == nil {
		w.open = newDataFile(w.newNameLocked())
	}
	file, offset = w.up+w.open.name, w.open.size
	for i := range blocks {
		w.open.add(&blocks[i])
	}
	w.mu.Unlock()
	if full != nil {
		err = w.put(ctx, full)
	}
	return file, offset, err
}

// A partWriter turns the pieces of one part into chunks. They go into the
// manifest while they are few bytes, and then into blocks, of which a number is
// collected before they get a place in a file.
type partWriter struct {
	w   *Writer
	ctx context.Context

	scratch []byte
	inline  []*Chunk // chunks that are inline so far
	bytes   int      // in them
	spilled bool     // nothing is inline any more

	raw    []byte // of the block being filled
	blocks []block
	held   int // bytes in blocks
	chunks []pendingChunk
}

// A pendingChunk begins in block first at skip, and ends in block last.
type pendingChunk struct {
	c           *Chunk
	first, last int
	skip        int
}

// heldBytes is how many bytes of small chunks are collected before they get a
// place: so many are next to each other in a file at least.
const heldBytes = 4 << 20

func (pw *partWriter) part(p *Part, o *Operator, next *int) error {
	w := pw.w
	if p.Subtask == CoordinatorPart {
		if len(p.Pieces)+len(p.Splits)+len(p.Channels)+len(p.Commits)+len(p.Cold) > 0 {
			return errors.New("a coordinator has no pieces")
		}
		if p.Coordinator == nil {
			return nil
		}
		o.Coordinator = new(Chunk)
		return pw.add(o.Coordinator, p.Coordinator)
	}
	if p.Coordinator != nil {
		return errors.New("a subtask has no coordinator's state")
	}
	o.Subtasks = []Subtask{{Index: p.Subtask, Finished: p.Finished, EndedInputs: p.EndedInputs, Incarnation: p.Incarnation}}
	// Chunks are pointed to while they are filled, so entries are laid out
	// before.
	entries := make([]Entry, len(p.Pieces))
	seen := newIndexes(p)
	for i := range p.Pieces {
		if err := pw.ctx.Err(); err != nil {
			return err
		}
		piece, e := &p.Pieces[i], &entries[i]
		key := seen.key(i)
		e.Subtask, e.Version = p.Subtask, piece.Version
		if piece.Group >= 0 {
			e.Group = piece.Group
		}
		same := w.base.find(key)
		if same != nil && !same.schemaIs(piece.Schema) {
			same = nil
		}
		if same != nil && piece.Version != 0 && piece.Version == same.e.Version && p.Incarnation != 0 && p.Incarnation == same.incarnation &&
			(same.e.File == "" || w.base.reusable(same.e.File)) {
			*next = i + 1
			if piece.Drop != nil {
				piece.Drop()
			}
			if same.e.File == "" {
				if err := pw.addHashed(&e.Chunk, same.e.Inline, same.e.Hash); err != nil {
					return err
				}
				continue
			}
			e.Chunk = same.e.Chunk
			continue
		}
		*next = i + 1
		data, err := piece.Encode(pw.scratch[:0])
		if err != nil {
			return fmt.Errorf("state %q: key group %d: encode: %w", piece.State, piece.Group, err)
		}
		pw.scratch = data
		hash := hashOf(data)
		if same != nil && same.e.Hash == hash && same.e.Bytes == int64(len(data)) && same.e.File != "" && w.base.reusable(same.e.File) {
			e.Chunk = same.e.Chunk
			continue
		}
		if err := pw.addHashed(&e.Chunk, data, hash); err != nil {
			return err
		}
	}
	for i := range p.Splits {
		s := p.Splits[i]
		s.Subtask, s.Data, s.Position = p.Subtask, bytes.Clone(s.Data), bytes.Clone(s.Position)
		o.Splits = append(o.Splits, s)
	}
	o.Channels = make([]Channel, len(p.Channels))
	for i := range p.Channels {
		c := &p.Channels[i]
		o.Channels[i] = Channel{Subtask: p.Subtask, Output: c.Output, Port: c.Port, Channel: c.Channel}
		data, err := c.Encode(pw.scratch[:0])
		if err != nil {
			return fmt.Errorf("records under way: channel %d: encode: %w", c.Channel, err)
		}
		pw.scratch = data
		if err := pw.add(&o.Channels[i].Chunk, data); err != nil {
			return err
		}
	}
	o.Commits = make([]Commit, len(p.Commits))
	for i := range p.Commits {
		o.Commits[i] = Commit{Subtask: p.Subtask, Checkpoint: p.Commits[i].Checkpoint}
		if err := pw.add(&o.Commits[i].Chunk, p.Commits[i].Data); err != nil {
			return err
		}
	}
	o.Cold = make([]Cold, len(p.Cold))
	for i := range p.Cold {
		if err := pw.cold(p, &p.Cold[i], &o.Cold[i]); err != nil {
			return fmt.Errorf("cold file %s/%s: %w", p.Cold[i].Store, p.Cold[i].Name, err)
		}
	}
	// The entries are sorted into states only when their chunks are known.
	if err := pw.flush(); err != nil {
		return err
	}
	o.States = sortStates(p, entries)
	return nil
}

// add stores data as c.
func (pw *partWriter) add(c *Chunk, data []byte) error { return pw.addHashed(c, data, hashOf(data)) }

func (pw *partWriter) addHashed(c *Chunk, data []byte, hash Hash) error {
	c.Bytes, c.Hash = int64(len(data)), hash
	if len(data) == 0 {
		return nil
	}
	if !pw.spilled {
		if pw.bytes+len(data) < pw.w.o.InlineBytes {
			c.Inline = bytes.Clone(data)
			pw.inline = append(pw.inline, c)
			pw.bytes += len(data)
			return nil
		}
		pw.spilled = true
		for _, c := range pw.inline {
			data := c.Inline
			c.Inline = nil
			if err := pw.store(c, data); err != nil {
				return err
			}
		}
		pw.inline = nil
	}
	return pw.store(c, data)
}

// store puts data into blocks.
func (pw *partWriter) store(c *Chunk, data []byte) error {
	p := pendingChunk{c: c, first: len(pw.blocks), skip: len(pw.raw)}
	for len(data) > 0 {
		n := min(len(data), blockBytes-len(pw.raw))
		pw.raw = append(pw.raw, data[:n]...)
		data = data[n:]
		p.last = len(pw.blocks)
		if len(pw.raw) == blockBytes {
			pw.cut()
		}
	}
	pw.chunks = append(pw.chunks, p)
	if pw.held >= heldBytes {
		return pw.flush()
	}
	return nil
}

// cut makes a block of what has been collected.
func (pw *partWriter) cut() {
	b := newBlock(pw.raw, true, false)
	pw.held += len(pw.raw)
	pw.raw = pw.raw[:0]
	pw.blocks = append(pw.blocks, b)
}

// flush gives the blocks a place.
func (pw *partWriter) flush() error {
	if len(pw.raw) > 0 {
		pw.cut()
	}
	if len(pw.blocks) == 0 {
		return nil
	}
	ends := make([]int64, len(pw.blocks)+1)
	for i := range pw.blocks {
		ends[i+1] = ends[i] + pw.blocks[i].size()
	}
	file, offset, err := pw.w.place(pw.ctx, pw.blocks)
	if err != nil {
		return err
	}
	for _, p := range pw.chunks {
		p.c.File, p.c.Skip = file, p.skip
		p.c.Offset, p.c.Stored = offset+ends[p.first], ends[p.last+1]-ends[p.first]
	}
	pw.blocks, pw.chunks, pw.held = nil, pw.chunks[:0], 0
	return nil
}

// cold stores a file of the cold tier.
func (pw *partWriter) cold(p *Part, in *ColdPiece, out *Cold) (err error) {
	w := pw.w
	*out = Cold{Subtask: p.Subtask, Store: in.Store, Name: in.Name, First: in.First, Last: in.Last, Meta: bytes.Clone(in.Meta)}
	if c := w.base.cold(p.UID, in.Store, in.Name); c != nil && c.Bytes == in.Size && c.File != "" && w.base.reusable(c.File) {
		out.Chunk = c.Chunk
		return nil
	}
	r, err := in.Open()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.Close()) }()
	if in.Size < w.o.ColdBytes {
		data := make([]byte, in.Size)
		if _, err := io.ReadFull(r, data); err != nil {
			return fmt.Errorf("read %d bytes: %w", in.Size, err)
		}
		if err := atEnd(r, in.Size); err != nil {
			return err
		}
		return pw.add(&out.Chunk, data)
	}
	w.mu.Lock()
	name := w.newNameLocked()
	w.mu.Unlock()
	s := &streamed{src: r, total: in.Size, left: in.Size, word: fileWord(name), sha: sha256.New()}
	s.digest.Reset()
	s.out = appendHead(nil)
	_, _ = s.digest.Write(s.out)
	s.size = headBytes
	if err := w.store.PutNew(pw.ctx, w.dir+name, s); err != nil {
		return err
	}
	out.Chunk = Chunk{
		Bytes: in.Size, Hash: Hash(s.sha.Sum(nil)[:16]), File: w.up + name,
		Offset: headBytes, Stored: s.size - headBytes - footBytes,
	}
	w.stored(File{Name: w.up + name, Size: s.size, XXH64: s.sum})
	return nil
}

func atEnd(r io.Reader, size int64) error {
	if n, err := io.ReadFull(r, make([]byte, 1)); n > 0 {
		return fmt.Errorf("it has more than %d bytes", size)
	} else if err != io.EOF {
		return err
	}
	return nil
}

// A streamed is the reader of a data file that holds the bytes of src, made as
// it is read. Files of the cold tier are compressed already.
type streamed struct {
	src   io.Reader
	total int64
	left  int64
	word  uint64
	sha   interface {
		io.Writer
		Sum([]byte) []byte
	}
	digest xxhash.Digest
	size   int64
	blocks uint64
	sum    Sum

	buf  []byte
	out  []byte // made and not read yet
	done bool
}

func (s *streamed) Read(p []byte) (int, error) {
	for len(s.out) == 0 {
		if s.done {
			return 0, io.EOF
		}
		if err := s.more(); err != nil {
			return 0, err
		}
	}
	n := copy(p, s.out)
	s.out = s.out[n:]
	return n, nil
}

func (s *streamed) more() error {
	if s.left == 0 {
		if err := atEnd(s.src, s.total); err != nil {
			return err
		}
		s.size += footBytes
		s.out, s.sum = appendFoot(s.buf[:0], &s.digest, s.size, s.blocks)
		s.done = true
		return nil
	}
	if s.buf == nil {
		s.buf = make([]byte, blockHeadBytes+blockBytes)
	}
	n := int(min(s.left, blockBytes))
	raw := s.buf[blockHeadBytes : blockHeadBytes+n]
	if _, err := io.ReadFull(s.src, raw); err != nil {
		return fmt.Errorf("read: %w", err)
	}
	_, _ = s.sha.Write(raw)
	b := newBlock(raw, false, true)
	b.place(s.word, s.size)
	copy(s.buf, b.head[:])
	s.out = s.buf[:blockHeadBytes+n]
	_, _ = s.digest.Write(s.out)
	s.size += b.size()
	s.blocks++
	s.left -= int64(n)
	return nil
}
