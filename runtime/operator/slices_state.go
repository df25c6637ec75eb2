package operator

import (
	"encoding/binary"
	"fmt"
	"math"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// The names of what Slices stores: the accumulators of each key group behind
// the event time it has come to, and the event time of the operator.
const (
	stateSlices = "slices"
	stateTime   = "time"
)

// Snapshot implements [Stateful].
func (o *Slices[K, In, Acc, R]) Snapshot() ([]Piece, error) {
	// The arrays of a slice are only appended to until it is dropped, so
	// what they hold now can be read later.
	starts := make([]int64, len(o.live))
	arrays := make([]sealed[K, Acc], len(o.live))
	snaps := make([]*table.Snapshot[K, Acc], len(o.live)) // nil where all is in the arrays
	for i, s := range o.live {
		s.d.shared = true
		starts[i], arrays[i] = s.start, s.d
		if s.t != nil {
			snaps[i] = s.t.Snapshot()
		}
	}
	wm := o.wm
	pieces := []Piece{{State: stateTime, Group: UnionGroup, Encode: func(dst []byte) ([]byte, error) {
		return putInt64(dst, wm), nil
	}}}
	var groups []int
	for g := o.groups.Start; g <= o.groups.End; g++ {
		for i, s := range snaps {
			if arrays[i].groupLen(g-o.groups.Start) > 0 || s != nil && s.GroupLen(g) > 0 {
				groups = append(groups, g)
				break
			}
		}
	}
	pending := pendingCount(len(groups))
	release := func() {
		for _, s := range snaps {
			if s != nil {
				s.Release()
			}
		}
	}
	if len(groups) == 0 {
		release()
	}
	for _, g := range groups {
		through := o.through(g)
		pieces = append(pieces, Piece{State: stateSlices, Group: g, Encode: func(dst []byte) ([]byte, error) {
			defer func() {
				if pending.done() {
					release()
				}
			}()
			dst = putInt64(dst, through)
			for i, s := range snaps {
				if n := arrays[i].groupLen(g - o.groups.Start); n > 0 {
					dst = putInt64(dst, starts[i])
					dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
					_, keys, accs := arrays[i].group(g - o.groups.Start)
					for j := range keys {
						dst = o.keys.Append(dst, &keys[j])
						dst = o.accs.Append(dst, &accs[j])
					}
				}
				if s == nil || s.GroupLen(g) == 0 {
					continue
				}
				dst = putInt64(dst, starts[i])
				dst = binary.LittleEndian.AppendUint32(dst, uint32(s.GroupLen(g)))
				for k, acc := range s.Group(g) {
					dst = o.keys.Append(dst, &k)
					dst = o.accs.Append(dst, acc)
				}
			}
			return dst, nil
		}})
	}
	if o.mutable {
		return encoded(pieces)
	}
	return pieces, nil
}

// through is the event time up to which key group g has been fired.
func (o *Slices[K, In, Acc, R]) through(g int) int64 {
	t := o.wm
	if o.ahead != nil {
		t = max(t, o.ahead[g-o.groups.Start])
	}
	if g < o.at {
		t = max(t, o.next-1)
	}
	return t
}

// encoded encodes pieces here and now: those of values that point to memory
// which user code changes in place cannot be encoded beside it.
func encoded(pieces []Piece) ([]Piece, error) {
	for i := range pieces {
		data, err := pieces[i].Encode(nil)
		if err != nil {
			return nil, err
		}
		pieces[i].Encode = func(dst []byte) ([]byte, error) { return append(dst, data...), nil }
	}
	return pieces, nil
}

// Restore implements [Stateful].
func (o *Slices[K, In, Acc, R]) Restore(pieces []Piece) error {
	wm, known := int64(math.MaxInt64), false
	through := make([]int64, o.groups.Len())
	for i := range through {
		through[i] = watermark.None
	}
	for _, p := range pieces {
		r := stateReader{src: p.Data}
		switch p.State {
		case stateTime:
			wm, known = min(wm, r.int64()), true
		case stateSlices:
			if !o.groups.Contains(p.Group) {
				return fmt.Errorf("state %s: key group %d is not one of %v", p.State, p.Group, o.groups)
			}
			through[p.Group-o.groups.Start] = r.int64()
			for r.err == nil && len(r.src) > 0 {
				start, n := r.int64(), r.uint32()
				first, end, ok := o.Windows.slice(start)
				if r.err == nil && (!ok || first != start || n == 0) {
					r.err = fmt.Errorf("%w: no slice of these windows begins at %s", codec.ErrCorrupt, FormatMillis(start))
				}
				if r.err != nil {
					break
				}
				s := o.sliceAt(start, end)
				for ; n > 0; n-- {
					k, word := readKey(&r, o.keys, o.hasher, o.groups)
					if r.err != nil {
						break
					}
					var acc Acc
					r.err = r.take(func(src []byte) ([]byte, error) { return o.accs.DecodeOwned(src, &acc) })
					v, created := s.t.Upsert(word, k)
					if created || o.Agg.Merge == nil {
						*v = acc
						continue
					}
					o.Agg.Merge(v, &acc) // of a late slice of the same time
				}
			}
		default:
			return fmt.Errorf("state %s is in the snapshot but not known to a window operator of this kind", p.State)
		}
		if r.err != nil {
			return fmt.Errorf("state %s: key group %d: %w", p.State, p.Group, r.err)
		}
	}
	if known {
		o.wm = wm
	}
	for i := range through {
		through[i] = max(through[i], o.wm)
		if through[i] > o.wm {
			o.ahead = through
		}
	}
	o.due, o.next = false, math.MaxInt64
	for _, s := range o.live {
		o.schedule(s)
	}
	return nil
}

func putInt64(dst []byte, v int64) []byte { return binary.LittleEndian.AppendUint64(dst, uint64(v)) }

// stateReader reads what a snapshot holds; after an error it reads zeros.
type stateReader struct {
	src []byte
	err error
}

func (r *stateReader) take(f func([]byte) ([]byte, error)) error {
	if r.err == nil {
		r.src, r.err = f(r.src)
	}
	return r.err
}

func (r *stateReader) bytes(n int) []byte {
	if r.err == nil && len(r.src) < n {
		r.err = fmt.Errorf("%w: it ends in the middle", codec.ErrCorrupt)
	}
	if r.err != nil {
		return make([]byte, n)
	}
	b := r.src[:n]
	r.src = r.src[n:]
	return b
}

// readKey reads a key, which must be of groups, and its hash word.
func readKey[K comparable](r *stateReader, keys *codec.Codec[K], hasher *keygroup.Hasher[K], groups keygroup.Range) (k K, word uint64) {
	if r.take(func(src []byte) ([]byte, error) { return keys.DecodeOwned(src, &k) }) != nil {
		return k, 0
	}
	word = hasher.One(&k)
	if !groups.Contains(keygroup.Of(word)) {
		r.err = fmt.Errorf("%w: key %v is not of this subtask", codec.ErrCorrupt, k)
	}
	return k, word
}

func (r *stateReader) int64() int64   { return int64(binary.LittleEndian.Uint64(r.bytes(8))) }
func (r *stateReader) uint32() uint32 { return binary.LittleEndian.Uint32(r.bytes(4)) }
