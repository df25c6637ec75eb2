package operator

import (
	"encoding/binary"
	"fmt"
	"sync/atomic"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/state/keygroup"
)

// The bytes of a piece of keyed state are a byte of flags, then the entries of
// its key group one after the other: the key, what belongs to it. The piece's
// Schema holds the schemas of the types in the order in which they come, each
// with its length as an uvarint before it.

// pieceStamped is the flag of a piece whose values have the time of their last
// access before them: 8 bytes, milliseconds, little endian.
const pieceStamped = 1

// frozen is a state as it was when it was snapshotted.
type frozen struct {
	flags  byte
	schema []byte
	// has reports whether a key group has entries.
	has func(group int) bool
	// append appends the entries of a key group.
	append func(dst []byte, group int) []byte
	// release is called when all pieces have been encoded.
	release func()
}

// pieces makes one piece for each key group that has entries.
func (k *Keyed[K]) pieces(name string, f frozen) []Piece {
	n := 0
	for g := range k.groups.All() {
		if f.has(g) {
			n++
		}
	}
	if n == 0 {
		f.release()
		return nil
	}
	left := pendingCount(n)
	ps := make([]Piece, 0, n)
	for g := range k.groups.All() {
		if !f.has(g) {
			continue
		}
		ps = append(ps, Piece{State: name, Group: g, Schema: f.schema, Encode: func(dst []byte) (_ []byte, err error) {
			defer encodeError(&err)
			dst = f.append(append(dst, f.flags), g)
			if left.done() {
				f.release()
			}
			return dst, nil
		}})
	}
	return ps
}

// pending counts the encodings that still need a snapshot.
type pending struct{ n atomic.Int64 }

func pendingCount(n int) *pending {
	p := &pending{}
	p.n.Store(int64(n))
	return p
}

// done counts one and reports whether it was the last.
func (p *pending) done() bool { return p.n.Add(-1) == 0 }

// encodeError turns the panic of a codec into an error.
func encodeError(err *error) {
	switch p := recover().(type) {
	case nil:
	case *codec.EncodeError:
		*err = p
	default:
		panic(p)
	}
}

// schemas joins the schemas of the types in a piece.
func schemas(of ...codec.Schema) []byte {
	var all []byte
	for _, s := range of {
		b, _ := s.AppendBinary(nil) // its error is there for the interface
		all = binary.AppendUvarint(all, uint64(len(b)))
		all = append(all, b...)
	}
	return all
}

// splitSchemas is the inverse of schemas for n types.
func splitSchemas(src []byte, n int) ([]codec.Schema, error) {
	out := make([]codec.Schema, n)
	for i := range out {
		size, w := binary.Uvarint(src)
		if w <= 0 || size > uint64(len(src)-w) {
			return nil, fmt.Errorf("schema: %w", codec.ErrCorrupt)
		}
		var err error
		if out[i], err = codec.ParseSchema(src[w : w+int(size)]); err != nil {
			return nil, err
		}
		src = src[w+int(size):]
	}
	if len(src) > 0 {
		return nil, fmt.Errorf("schema: %d bytes too many: %w", len(src), codec.ErrCorrupt)
	}
	return out, nil
}

// decoder reads values of one type from pieces, whatever schema they were
// written under.
type decoder[V any] struct {
	codec *codec.Codec[V]
	read  func(src []byte, v *V) ([]byte, error)
}

// under returns the decoder for values written under s.
func under[V any](c *codec.Codec[V], s codec.Schema) (d decoder[V], err error) {
	d.codec = c
	d.read, err = c.Reader(s)
	return d, err
}

// decode reads a value that shares nothing with src.
func (d decoder[V]) decode(src []byte, v *V) ([]byte, error) {
	rest, err := d.read(src, v)
	if err == nil {
		d.codec.Own(v)
	}
	return rest, err
}

// reading is a piece of keyed state being restored.
type reading[K comparable] struct {
	k       *Keyed[K]
	src     []byte
	stamped bool
	now     int64
}

// open checks the head of a piece and returns the schemas of the types that
// follow the key. Keys cannot change their type: their key group would change.
func (k *Keyed[K]) open(p Piece, types int) (r reading[K], rest []codec.Schema, err error) {
	if len(p.Data) == 0 || p.Data[0]&^pieceStamped != 0 {
		return r, nil, fmt.Errorf("head: %w", codec.ErrCorrupt)
	}
	all, err := splitSchemas(p.Schema, types+1)
	if err != nil {
		return r, nil, err
	}
	if !all[0].Same(k.keys.Schema()) {
		return r, nil, fmt.Errorf("the key's type has changed from %v to %v, which would move keys to other subtasks", all[0], k.keys.Schema())
	}
	return reading[K]{k: k, src: p.Data[1:], stamped: p.Data[0]&pieceStamped != 0, now: k.ttl.now}, all[1:], nil
}

func (r *reading[K]) more() bool { return len(r.src) > 0 }

// key reads the next key and its hash word.
func (r *reading[K]) key() (word uint64, key K, err error) {
	if r.src, err = r.k.keys.DecodeOwned(r.src, &key); err != nil {
		return 0, key, fmt.Errorf("key: %w", err)
	}
	word = r.k.hasher.One(&key)
	if !r.k.groups.Contains(keygroup.Of(word)) {
		return 0, key, fmt.Errorf("key %v is not of this subtask: %w", key, codec.ErrCorrupt)
	}
	return word, key, nil
}

// stamp reads the time of last access; where the piece has none it is the time
// of the restore.
func (r *reading[K]) stamp() (int64, error) {
	if !r.stamped {
		return r.now, nil
	}
	if len(r.src) < 8 {
		return 0, fmt.Errorf("time of access: %w", codec.ErrCorrupt)
	}
	at := int64(binary.LittleEndian.Uint64(r.src))
	r.src = r.src[8:]
	return at, nil
}

// codecOf is codec.Of for user code that declares a state.
func codecOf[V any](state string) *codec.Codec[V] {
	c, err := codec.Of[V]()
	if err != nil {
		panic(fmt.Errorf("state %q: %w", state, err))
	}
	return c
}
