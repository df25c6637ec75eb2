package operator

import (
	"encoding/binary"
	"fmt"
	"iter"
	"math"
	"sync"

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
	wm := o.wm
	pieces := []Piece{{State: stateTime, Group: UnionGroup, Encode: func(dst []byte) ([]byte, error) {
		return putInt64(dst, wm), nil
	}}}
	frozen, keys, release := o.freeze()
	var groups []int
	for g := range o.groups.All() {
		for _, s := range frozen {
			if s.holds(g) {
				groups = append(groups, g)
				break
			}
		}
	}
	if len(groups) == 0 {
		release()
	}
	pending := pendingCount(len(groups))
	for _, g := range groups {
		through := o.through(g)
		pieces = append(pieces, Piece{State: stateSlices, Group: g, Encode: func(dst []byte) ([]byte, error) {
			defer func() {
				if pending.done() {
					release()
				}
			}()
			dst = putInt64(dst, through)
			keys := keys(g)
			for _, s := range frozen {
				n := s.len(g)
				if n == 0 {
					continue
				}
				dst = putInt64(dst, s.start)
				dst = binary.LittleEndian.AppendUint32(dst, uint32(n))
				for k, acc := range s.entries(g, keys) {
					dst = o.keys.Append(dst, k)
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

// frozenSlice is a slice as it was when it was snapshotted. The last two may
// take long at first.
type frozenSlice[K comparable, Acc any] struct {
	start int64
	holds func(group int) bool // may be true of a group without entries
	len   func(group int) int
	// entries iterates over those of a key group, given the keys by their
	// places.
	entries func(group int, keys []K) iter.Seq2[*K, *Acc]
}

// freeze returns the slices as they are now, the keys of a key group by their
// places, and what is to be called when all has been read.
func (o *Slices[K, In, Acc, R]) freeze() (frozen []frozenSlice[K, Acc], keys func(group int) []K, release func()) {
	if o.over != nil {
		return o.over.freeze(o.live)
	}
	snaps := make([]*table.Snapshot[K, Acc], len(o.live))
	for i, s := range o.live {
		t := s.t.Snapshot()
		snaps[i] = t
		frozen = append(frozen, frozenSlice[K, Acc]{
			start: s.start, len: func(g int) int { return t.GroupLen(g) },
			holds: func(g int) bool { return t.GroupLen(g) > 0 },
			entries: func(g int, _ []K) iter.Seq2[*K, *Acc] {
				return func(yield func(*K, *Acc) bool) {
					for e := range t.GroupEntries(g) {
						if !yield(&e.Key, &e.Value) {
							return
						}
					}
				}
			},
		})
	}
	return frozen, func(int) []K { return nil }, func() {
		for _, t := range snaps {
			t.Release()
		}
	}
}

// freeze is what Slices.freeze is for windows of several slices.
func (c *sums[K, In, Acc]) freeze(live []*slice[K, Acc]) (frozen []frozenSlice[K, Acc], keys func(group int) []K, release func()) {
	groups, start := len(c.front), c.groups.Start
	numbers := c.numbers.Snapshot()
	places := make([]int, groups)
	for g := range places {
		places[g] = len(c.front[g])
	}
	for _, s := range live {
		f := frozenSlice[K, Acc]{start: s.start}
		var once sync.Once
		var order, ends []uint32
		sorted := func(g, n int, group func(j int) int) []uint32 {
			once.Do(func() { order, ends = byGroup(nil, nil, groups, n, group) })
			return order[ends[g]:ends[g+1]]
		}
		if s.open != nil {
			entries := s.open.Freeze()
			group := func(g int) []uint32 {
				return sorted(g-start, len(entries), func(j int) int { return keygroup.Of(entries[j].Word()) - start })
			}
			f.holds = func(g int) bool { return len(entries) > 0 }
			f.len = func(g int) int { return len(group(g)) }
			f.entries = func(g int, _ []K) iter.Seq2[*K, *Acc] {
				return func(yield func(*K, *Acc) bool) {
					for _, j := range group(g) {
						if !yield(&entries[j].Key, &entries[j].Value) {
							return
						}
					}
				}
			}
		} else {
			s.set.shared, s.set.places = true, nil
			ids, accs := s.set.ids, s.set.accs
			group := func(g int) []uint32 {
				return sorted(g-start, len(ids), func(j int) int {
					g, _ := c.place(ids[j])
					return int(g)
				})
			}
			f.holds = func(g int) bool { return numbers.GroupLen(g) > 0 }
			f.len = func(g int) int { return len(group(g)) }
			f.entries = func(g int, keys []K) iter.Seq2[*K, *Acc] {
				return func(yield func(*K, *Acc) bool) {
					for _, j := range group(g) {
						_, i := c.place(ids[j])
						if !yield(&keys[i], &accs[j]) {
							return
						}
					}
				}
			}
		}
		frozen = append(frozen, f)
	}
	return frozen, func(g int) []K {
		keys := make([]K, places[g-start])
		for e := range numbers.GroupEntries(g) {
			_, i := c.place(e.Value - 1)
			keys[i] = e.Key
		}
		return keys
	}, numbers.Release
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
					v, created := o.upsert(s, word, k)
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
