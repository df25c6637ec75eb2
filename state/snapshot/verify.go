package snapshot

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"slices"

	"github.com/millrace/millrace/state/blob"
)

// Verify reads everything that the snapshot consists of and reports all damage,
// each file's first: files that are missing, of the wrong size or checksum,
// blocks that are wrong, chunks that are not where they should be or have other
// content. If the store fails it returns that error at once.
func (s *Snapshot) Verify(ctx context.Context) error {
	type owned struct {
		who func() holder
		c   *Chunk
	}
	byFile := map[string][]owned{}
	for who, c := range s.Manifest.chunks() {
		if c.File != "" {
			byFile[c.File] = append(byFile[c.File], owned{who, c})
		}
	}
	var errs []error
	for i := range s.Manifest.Files {
		f := &s.Manifest.Files[i]
		chunks := byFile[f.Name]
		slices.SortFunc(chunks, func(a, b owned) int {
			return cmp.Or(cmp.Compare(a.c.Offset, b.c.Offset), cmp.Compare(a.c.Skip, b.c.Skip))
		})
		v := verifier{file: s.path(f.Name)}
		r, err := s.store.Get(ctx, v.file, 0, -1)
		if errors.Is(err, blob.ErrNotExist) {
			errs = append(errs, &DamageError{File: v.file, Offset: -1, Of: s.Manifest.ownersOf(f.Name), Problem: fmt.Sprintf("is missing, want %d bytes", f.Size), Err: err})
			continue
		}
		if err != nil {
			return err
		}
		var damaged *DamageError
		sum, size, err := walkFile(r, f.Name, func(offset int64, size int, raw []byte) error {
			for len(chunks) > 0 && chunks[0].c.Offset <= offset {
				v.begin(chunks[0].c, chunks[0].who)
				chunks = chunks[1:]
			}
			if damaged == nil { // else go on: the file itself may be whole
				damaged = v.block(offset, size, raw)
			}
			return nil
		})
		var fe *fileError
		switch {
		case errors.As(err, &fe):
			// Name whose bytes are at the place, or, if it is nobody's, all.
			of := s.Manifest.ownersOf(f.Name)
			for _, o := range byFile[f.Name] {
				if o.c.Offset <= fe.offset && fe.offset < o.c.Offset+o.c.Stored {
					of = o.who().String()
					break
				}
			}
			damaged = &DamageError{File: v.file, Offset: fe.offset, Of: of, Problem: fe.problem}
		case err != nil:
			return errors.Join(err, r.Close())
		case damaged != nil:
		case len(v.active)+len(chunks) > 0:
			if len(v.active) > 0 {
				damaged = v.active[0].damage(&v, size, "its blocks end before the chunk does")
			} else {
				damaged = &DamageError{File: v.file, Offset: chunks[0].c.Offset, Of: chunks[0].who().String(), Problem: "no block begins here"}
			}
		case size != f.Size || sum != f.XXH64:
			damaged = &DamageError{File: v.file, Offset: -1, Of: s.Manifest.ownersOf(f.Name), Problem: fmt.Sprintf("is whole, but another file: %d bytes with checksum %s, want %d with %s", size, sum, f.Size, f.XXH64)}
		}
		if err := r.Close(); err != nil {
			return err
		}
		if damaged != nil {
			errs = append(errs, damaged)
		}
	}
	return errors.Join(errs...)
}

// A verifier follows the chunks of a file while its blocks go by.
type verifier struct {
	file   string
	active []*following
}

type following struct {
	c    *Chunk
	who  func() holder
	left int64
	skip int
	sha  hash.Hash
}

func (f *following) damage(v *verifier, offset int64, format string, args ...any) *DamageError {
	return &DamageError{File: v.file, Offset: offset, Of: f.who().String(), Problem: fmt.Sprintf(format, args...)}
}

func (v *verifier) begin(c *Chunk, who func() holder) {
	v.active = append(v.active, &following{c, who, c.Bytes, c.Skip, sha256.New()})
}

func (v *verifier) block(offset int64, size int, raw []byte) *DamageError {
	keep := v.active[:0]
	for _, f := range v.active {
		end := f.c.Offset + f.c.Stored
		switch {
		case f.c.Offset > offset || f.left == f.c.Bytes && f.c.Offset != offset:
			return f.damage(v, f.c.Offset, "no block begins here")
		case offset+int64(size) > end:
			return f.damage(v, offset, "a block that ends at %d, want %d at most", offset+int64(size), end)
		case f.left == 0 || f.skip >= len(raw):
			return f.damage(v, offset, "%d bytes are in fewer blocks than the manifest says", f.c.Bytes)
		}
		part := raw[f.skip:]
		part = part[:min(f.left, int64(len(part)))]
		f.skip = 0
		f.left -= int64(len(part))
		_, _ = f.sha.Write(part)
		if offset+int64(size) < end {
			keep = append(keep, f)
			continue
		}
		if h := Hash(f.sha.Sum(nil)[:16]); f.left > 0 || h != f.c.Hash {
			return f.damage(v, f.c.Offset, "%d of %d bytes, with hash %s, want %s", f.c.Bytes-f.left, f.c.Bytes, h, f.c.Hash)
		}
	}
	v.active = keep
	return nil
}
