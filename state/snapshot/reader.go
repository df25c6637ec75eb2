package snapshot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/millrace/millrace/state/blob"
)

// A Snapshot is a checkpoint or savepoint opened for reading. Every byte that it
// returns has been checked. It is safe for concurrent use.
type Snapshot struct {
	// Manifest is not to be changed.
	Manifest *Manifest

	store blob.Store
	dir   string
}

// Locate finds the store and the folder of the checkpoint or savepoint at a path
// or URL, which names its folder or the manifest in it. key is the setting or
// flag that it comes from; errors begin with it.
func Locate(key, location string, schemes ...blob.Scheme) (store blob.Store, dir string, err error) {
	trimmed := strings.TrimSuffix(strings.TrimRight(location, "/"), "/"+ManifestName)
	trimmed = strings.TrimRight(trimmed, "/")
	parent, dir := path.Split(trimmed)
	if trimmed != "" && (dir == "" || strings.HasSuffix(dir, ":") || dir == "." || dir == ".." || strings.HasSuffix(parent, "://")) {
		return nil, "", fmt.Errorf("%s: %q: want the folder of a checkpoint or savepoint, or the file %s in it", key, location, ManifestName)
	}
	if parent == "" && trimmed != "" {
		parent = "."
	}
	if strings.Contains(location, "://") {
		if dir, err = url.PathUnescape(dir); err != nil {
			return nil, "", fmt.Errorf("%s: %q: %w", key, location, err)
		}
	}
	store, err = blob.Open(key, parent, schemes...)
	return store, dir, err
}

// Open opens the checkpoint or savepoint in the folder dir of store. Errors are
// [blob.ErrNotExist], [ErrDamaged], [ErrVersion], or the store's.
func Open(ctx context.Context, store blob.Store, dir string) (*Snapshot, error) {
	name := path.Join(dir, ManifestName)
	data, err := blob.ReadAll(ctx, store, name, 0, -1)
	if err != nil {
		return nil, err
	}
	m, err := Decode(name, data)
	if err != nil {
		return nil, err
	}
	if dir == "" && slices.ContainsFunc(m.Files, func(f File) bool { return strings.HasPrefix(f.Name, "../") }) {
		return nil, fmt.Errorf("%s: the store must be opened at the folder above: files are shared with other checkpoints", name)
	}
	return &Snapshot{Manifest: m, store: store, dir: dir}, nil
}

// Dir is the snapshot's folder in its store.
func (s *Snapshot) Dir() string { return s.dir }

// String is the snapshot's URL.
func (s *Snapshot) String() string { return strings.TrimSuffix(s.store.String()+"/"+s.dir, "/") }

func (s *Snapshot) path(file string) string { return path.Join(s.dir, file) }

// spanBytes is about how much Load gets from the store at once.
const spanBytes = 8 << 20

// Load reads chunks and calls f with each one's index and bytes, which are valid
// during the call. It reads them in the order of their places, so that what is
// stored together is read together and decompressed once. An error of f ends it.
// Errors are [ErrDamaged], f's, or the store's.
func (s *Snapshot) Load(ctx context.Context, o *Operator, chunks []*Chunk, f func(i int, data []byte) error) error {
	order := make([]int, 0, len(chunks))
	for i, c := range chunks {
		if c.File != "" {
			order = append(order, i)
			continue
		}
		// Checked when the manifest was.
		if err := f(i, c.Inline); err != nil {
			return err
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		x, y := chunks[a], chunks[b]
		return cmp.Or(strings.Compare(x.File, y.File), cmp.Compare(x.Offset, y.Offset), cmp.Compare(x.Skip, y.Skip))
	})
	l := loader{s: s, o: o}
	for len(order) > 0 {
		// A span of chunks with no gaps, or small ones.
		first := chunks[order[0]]
		n, end := 1, first.Offset+first.Stored
		for n < len(order) {
			c := chunks[order[n]]
			if c.File != first.File || c.Offset > end+64<<10 || c.Offset+c.Stored-first.Offset > spanBytes && c.Offset >= end {
				break
			}
			end = max(end, c.Offset+c.Stored)
			n++
		}
		if err := l.span(ctx, chunks, order[:n], first.Offset, end, f); err != nil {
			return err
		}
		order = order[n:]
	}
	return nil
}

// Read reads one chunk of an operator. The bytes are the caller's.
func (s *Snapshot) Read(ctx context.Context, o *Operator, c *Chunk) ([]byte, error) {
	var out []byte
	err := s.Load(ctx, o, []*Chunk{c}, func(_ int, data []byte) error {
		out = append(make([]byte, 0, len(data)), data...)
		return nil
	})
	return out, err
}

type loader struct {
	s   *Snapshot
	o   *Operator
	out []byte
	raw []byte // memory for decompression
}

// damage is a DamageError about the chunk c.
func (l *loader) damage(c *Chunk, offset int64, problem string, err error) error {
	d := &DamageError{File: l.s.path(c.File), Offset: offset, Problem: problem, Err: err}
	for who, x := range l.o.chunks() {
		if x == c || x.File == c.File && x.Offset == c.Offset && x.Skip == c.Skip {
			d.Of = who().String()
			break
		}
	}
	return d
}

// span loads chunks that lie between from and to of one file, in order.
func (l *loader) span(ctx context.Context, chunks []*Chunk, order []int, from, to int64, f func(i int, data []byte) error) error {
	first := chunks[order[0]]
	name := l.s.path(first.File)
	data, err := blob.ReadAll(ctx, l.s.store, name, from, to-from)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		// Find the chunk that is cut short, below.
		err = nil
	}
	if errors.Is(err, blob.ErrNotExist) {
		return l.damage(first, -1, "is missing", err)
	}
	if err != nil {
		return err
	}
	word := fileWord(first.File)
	var raw []byte // the content of the block at offset at, of size bytes
	at, size := int64(-1), 0
	for _, i := range order {
		c := chunks[i]
		l.out = l.out[:0]
		single := []byte(nil) // the chunk, if it is in one block
		off, skip := c.Offset, c.Skip
		for end := c.Offset + c.Stored; off < end; off += int64(size) {
			if int64(len(l.out)) >= c.Bytes {
				return l.damage(c, off, fmt.Sprintf("%d bytes are in fewer blocks than the manifest says", c.Bytes), nil)
			}
			if off != at {
				src := data[min(off-from, int64(len(data))):]
				var err error
				size, raw, err = decodeBlock(l.raw, src, word, off)
				if errors.Is(err, io.ErrUnexpectedEOF) {
					return l.damage(c, off, fmt.Sprintf("ends after %d bytes, want a block here that ends by %d", from+int64(len(data)), end), nil)
				}
				if err != nil {
					at = -1
					return l.damage(c, off, err.Error(), nil)
				}
				if src[8] != codecNone {
					l.raw = raw
				}
				at = off
			}
			if off+int64(size) > end || skip >= len(raw) {
				return l.damage(c, off, fmt.Sprintf("a block of %d bytes in %d, want one that ends by %d and has more than %d bytes", len(raw), size, end, skip), nil)
			}
			part := raw[skip:]
			if skip = 0; off == c.Offset && off+int64(size) == end {
				single = part
				break
			}
			l.out = append(l.out, part...)
		}
		got := l.out
		if single != nil {
			got = single
		}
		if int64(len(got)) < c.Bytes {
			return l.damage(c, c.Offset, fmt.Sprintf("blocks hold %d bytes of the %d wanted", len(got), c.Bytes), nil)
		}
		got = got[:c.Bytes:c.Bytes]
		if h := hashOf(got); h != c.Hash {
			return l.damage(c, c.Offset, fmt.Sprintf("content has hash %s, want %s", h, c.Hash), nil)
		}
		if err := f(i, got); err != nil {
			return err
		}
	}
	return nil
}

// Copy writes the bytes of a chunk to w without holding all of them in memory:
// what a file of the cold tier is fetched by. If it returns an error, what w got
// is of no use.
func (s *Snapshot) Copy(ctx context.Context, o *Operator, c *Chunk, w io.Writer) error {
	if c.File == "" {
		_, err := w.Write(c.Inline)
		return err
	}
	l := loader{s: s, o: o}
	r, err := s.store.Get(ctx, s.path(c.File), c.Offset, c.Stored)
	if errors.Is(err, blob.ErrNotExist) {
		return l.damage(c, -1, "is missing", err)
	}
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	sha := sha256.New()
	word, left, skip := fileWord(c.File), c.Bytes, c.Skip
	buf := make([]byte, blockHeadBytes)
	for off, end := c.Offset, c.Offset+c.Stored; off < end; {
		n := 0
		_, err := io.ReadFull(r, buf[:blockHeadBytes])
		if err == nil {
			if n, _, err = decodeHead(buf[:blockHeadBytes]); err != nil {
				return l.damage(c, off, err.Error(), nil)
			}
			buf = slices.Grow(buf[:blockHeadBytes], n)[:blockHeadBytes+n]
			_, err = io.ReadFull(r, buf[blockHeadBytes:])
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return l.damage(c, off, fmt.Sprintf("ends in the middle, want blocks up to %d", end), nil)
		}
		if err != nil {
			return err
		}
		size, raw, err := decodeBlock(l.raw, buf, word, off)
		if err != nil {
			return l.damage(c, off, err.Error(), nil)
		}
		if buf[8] != codecNone {
			l.raw = raw
		}
		if skip >= len(raw) || left == 0 {
			return l.damage(c, off, fmt.Sprintf("a block of %d bytes too many", len(raw)), nil)
		}
		part := raw[skip:]
		part = part[:min(int64(len(part)), left)]
		skip = 0
		_, _ = sha.Write(part)
		if _, err := w.Write(part); err != nil {
			return err
		}
		left -= int64(len(part))
		off += int64(size)
	}
	if h := Hash(sha.Sum(nil)[:16]); left != 0 || h != c.Hash {
		return l.damage(c, c.Offset, fmt.Sprintf("%d of %d bytes, with hash %s, want %s", c.Bytes-left, c.Bytes, h, c.Hash), nil)
	}
	return nil
}
