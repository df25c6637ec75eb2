package operator

import (
	"fmt"
	"reflect"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/runtime/watermark"
	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// The names of what Windowed stores beside the states of the user, which get a
// letter and a colon in front.
const (
	stateRows    = "w:contents"
	stateSpans   = "w:sessions"
	stateMarks   = "w:trigger records"
	stateTimers  = "w:timers"
	stateProc    = "w:processing timers"
	globalPrefix = "g:"
	localPrefix  = "l:"
)

// tablePieces snapshots t, an entry after the other as put writes them.
func tablePieces[K comparable, V any](name string, t *table.Table[K, V], groups keygroup.Range, put func(dst []byte, k *K, v *V) []byte) []Piece {
	if t.Len() == 0 {
		return nil
	}
	snap := t.Snapshot()
	left := 0
	for g := groups.Start; g <= groups.End; g++ {
		if snap.GroupLen(g) > 0 {
			left++
		}
	}
	pending := pendingCount(left)
	ps := make([]Piece, 0, left)
	for g := groups.Start; g <= groups.End; g++ {
		if snap.GroupLen(g) == 0 {
			continue
		}
		ps = append(ps, Piece{State: name, Group: g, Encode: func(dst []byte) ([]byte, error) {
			defer func() {
				if pending.done() {
					snap.Release()
				}
			}()
			for k, v := range snap.Group(g) {
				dst = put(dst, &k, v)
			}
			return dst, nil
		}})
	}
	return ps
}

func timePiece(wm int64) Piece {
	return Piece{State: stateTime, Group: UnionGroup, Encode: func(dst []byte) ([]byte, error) {
		return putInt64(dst, wm), nil
	}}
}

func (o *Windowed[K, In, Acc, R]) putKey(dst []byte, k *winKey[K]) []byte {
	return putInt64(putInt64(o.keys.Append(dst, &k.Key), k.Start), k.End)
}

func (o *Windowed[K, In, Acc, R]) readKey(r *stateReader) (k winKey[K], word uint64) {
	k.Key, word = readKey(r, o.keys, o.hasher, o.groups)
	k.Start, k.End = r.int64(), r.int64()
	return k, word
}

// Snapshot implements [Stateful].
func (o *Windowed[K, In, Acc, R]) Snapshot() ([]Piece, error) {
	all := []Piece{timePiece(o.Watermark)}
	rows := tablePieces(stateRows, o.rows, o.groups, func(dst []byte, k *winKey[K], v *winRow[Acc]) []byte {
		dst = putInt64(o.putKey(dst, k), int64(v.firing))
		for _, c := range v.cells {
			dst = putInt64(dst, c)
		}
		if !v.has {
			return append(dst, 0)
		}
		return o.accs.Append(append(dst, 1), &v.acc)
	})
	if mutable(reflect.TypeFor[Acc]()) {
		var err error
		if rows, err = encoded(rows); err != nil {
			return nil, err
		}
	}
	all = append(all, rows...)
	all = append(all, tablePieces(stateSpans, o.spans, o.groups, func(dst []byte, k *K, v *[]span) []byte {
		dst = putInt64(o.keys.Append(dst, k), int64(len(*v)))
		for _, s := range *v {
			for _, x := range []int64{s.StartMillis, s.EndMillis, s.home.StartMillis, s.home.EndMillis} {
				dst = putInt64(dst, x)
			}
		}
		return dst
	})...)
	if o.marks != nil {
		all = append(all, tablePieces(stateMarks, o.marks, o.groups, func(dst []byte, k *keptKey[K], v *In) []byte {
			return o.markCode.Append(putInt64(o.putKey(dst, &k.winKey), int64(k.I)), v)
		})...)
	}
	timer := func(dst []byte, k *timerKey[K], _ *struct{}) []byte {
		return putInt64(o.putKey(dst, &k.winKey), k.At)
	}
	all = append(all, tablePieces(stateTimers, o.event.set, o.groups, timer)...)
	all = append(all, tablePieces(stateProc, o.proc.set, o.groups, timer)...)
	global, err := o.Global.Snapshot()
	if err != nil {
		return nil, err
	}
	for _, p := range global {
		p.State = globalPrefix + p.State
		all = append(all, p)
	}
	for _, s := range o.local {
		ps, err := s.snapshot()
		if err != nil {
			return nil, err
		}
		all = append(all, ps...)
	}
	return all, nil
}

// Restore implements [Stateful].
func (o *Windowed[K, In, Acc, R]) Restore(pieces []Piece) error {
	known := false
	for _, p := range pieces {
		r := &stateReader{src: p.Data}
		switch p.State {
		case stateTime:
			if wm := r.int64(); !known || wm < o.Watermark {
				o.Watermark, known = wm, true
			}
			continue
		}
		if len(p.State) > 2 {
			switch p.State[:2] {
			case globalPrefix:
				p.State = p.State[2:]
				if err := o.Global.Restore([]Piece{p}); err != nil {
					return err
				}
				continue
			case localPrefix:
				if err := o.restoreLocal(p); err != nil {
					return err
				}
				continue
			}
		}
		for r.err == nil && len(r.src) > 0 {
			o.restoreOne(p.State, r)
		}
		if r.err != nil {
			return fmt.Errorf("state %s: key group %d: %w", p.State, p.Group, r.err)
		}
	}
	if !known {
		o.Watermark = watermark.None
	}
	return nil
}

func (o *Windowed[K, In, Acc, R]) restoreLocal(p Piece) error {
	for _, s := range o.local {
		if s.state() == p.State {
			return s.restore(p)
		}
	}
	return fmt.Errorf("state %s is in the snapshot but not declared", p.State[len(localPrefix):])
}

// restoreOne restores one entry of a state.
func (o *Windowed[K, In, Acc, R]) restoreOne(state string, r *stateReader) {
	switch state {
	case stateRows:
		k, word := o.readKey(r)
		row := winRow[Acc]{firing: int32(r.int64())}
		for i := range row.cells {
			row.cells[i] = r.int64()
		}
		if row.has = r.bytes(1)[0] != 0; row.has {
			r.decode(func(src []byte) ([]byte, error) { return o.accs.DecodeOwned(src, &row.acc) })
		}
		if r.err == nil {
			at, _ := o.rows.Upsert(mix(word, k.Start, k.End), k)
			*at = row
		}
	case stateSpans:
		k, word := readKey(r, o.keys, o.hasher, o.groups)
		var s []span
		for n := r.int64(); n > 0 && r.err == nil; n-- {
			s = append(s, span{Window{r.int64(), r.int64()}, Window{r.int64(), r.int64()}})
		}
		if r.err == nil {
			at, _ := o.spans.Upsert(word, k)
			*at = s
		}
	case stateMarks:
		k, word := o.readKey(r)
		i := r.int64()
		if o.marks == nil {
			r.err = fmt.Errorf("the trigger keeps no records any more")
			return
		}
		var v In
		r.decode(func(src []byte) ([]byte, error) { return o.markCode.DecodeOwned(src, &v) })
		if r.err == nil {
			at, _ := o.marks.Upsert(mix(word, k.Start, k.End+i), keptKey[K]{k, int(i)})
			*at = v
		}
	case stateTimers, stateProc:
		k, word := o.readKey(r)
		at := r.int64()
		if r.err == nil {
			o.timers(state == stateProc).add(word, k, at)
		}
	default:
		r.err = fmt.Errorf("it is not known to a window operator of this kind")
	}
}

// decode lets f read from the front.
func (r *stateReader) decode(f func([]byte) ([]byte, error)) { r.err = r.take(f) }

// WindowValue is one value for each key and window, cleared with the window.
type WindowValue[K comparable, V any] struct {
	name  string
	t     *table.Table[winKey[K], V]
	code  *codec.Codec[V]
	scope *Scope[K]
}

// NewWindowValue declares a window state. It panics if V cannot be stored:
// user code is declaring its states.
func NewWindowValue[K comparable, V any](s *Scope[K], name string) *WindowValue[K, V] {
	c, err := codec.Of[V]()
	if err != nil {
		panic(fmt.Errorf("window state %q: %w", name, err))
	}
	for _, l := range s.local {
		if l.state() == localPrefix+name {
			panic(fmt.Sprintf("window state %q is declared twice", name))
		}
	}
	v := &WindowValue[K, V]{name: localPrefix + name, code: c, scope: s,
		t: table.New[winKey[K], V](s.groups, table.Options{})}
	s.local = append(s.local, v)
	return v
}

// where is the place of the key and window in effect.
func (v *WindowValue[K, V]) where() (uint64, winKey[K]) {
	s := v.scope
	if !s.Global.Active {
		panic("window state is only there while a window is handled")
	}
	k := winKey[K]{s.Global.Key, s.namespace.StartMillis, s.namespace.EndMillis}
	return mix(s.Global.Word, k.Start, k.End), k
}

// Load implements [ValueState].
func (v *WindowValue[K, V]) Load() (x V, ok bool) {
	if p := v.t.Get(v.where()); p != nil {
		return *p, true
	}
	return x, false
}

// Set implements [ValueState].
func (v *WindowValue[K, V]) Set(x V) { *v.Ref() = x }

// Ref implements [ValueState].
func (v *WindowValue[K, V]) Ref() *V {
	p, _ := v.t.Upsert(v.where())
	return p
}

// Clear implements [ValueState].
func (v *WindowValue[K, V]) Clear() {
	v.t.Delete(v.where())
}

func (v *WindowValue[K, V]) state() string { return v.name }

func (v *WindowValue[K, V]) clear(word uint64, k winKey[K]) { v.t.Delete(word, k) }

func (v *WindowValue[K, V]) snapshot() ([]Piece, error) {
	ps := tablePieces(v.name, v.t, v.scope.groups, func(dst []byte, k *winKey[K], x *V) []byte {
		return v.code.Append(putInt64(putInt64(v.scope.keys.Append(dst, &k.Key), k.Start), k.End), x)
	})
	if mutable(reflect.TypeFor[V]()) {
		return encoded(ps)
	}
	return ps, nil
}

func (v *WindowValue[K, V]) restore(p Piece) error {
	r := &stateReader{src: p.Data}
	for len(r.src) > 0 {
		var k winKey[K]
		var word uint64
		var x V
		k.Key, word = readKey(r, v.scope.keys, v.scope.hasher, v.scope.groups)
		k.Start, k.End = r.int64(), r.int64()
		r.decode(func(src []byte) ([]byte, error) { return v.code.DecodeOwned(src, &x) })
		if r.err != nil {
			return fmt.Errorf("state %s: key group %d: %w", p.State, p.Group, r.err)
		}
		at, _ := v.t.Upsert(mix(word, k.Start, k.End), k)
		*at = x
	}
	return nil
}
