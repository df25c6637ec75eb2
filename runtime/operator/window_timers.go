package operator

import (
	"cmp"

	"github.com/millrace/millrace/runtime/codec"
	"github.com/millrace/millrace/state/keygroup"
	"github.com/millrace/millrace/state/table"
)

// winKey is a key in a window: what the state of a window operator is kept
// under. Its hash word is that of the key with the window mixed in, so it stays
// in the key's group.
type winKey[K comparable] struct {
	Key        K
	Start, End int64
}

func (k winKey[K]) window() Window { return Window{k.Start, k.End} }

// mix makes the hash word of a key and further numbers of the word of the key.
func mix(word uint64, a, b int64) uint64 {
	h := word ^ uint64(a)*0x9e3779b97f4a7c15 ^ uint64(b)*0xd6e8feb86659fd93
	h ^= h >> 29
	h *= 0xbf58476d1ce4e5b9
	h ^= h >> 32
	return word&^uint64(keygroup.LowMask) | h&keygroup.LowMask
}

// timerKey is a timer of a key in a window.
type timerKey[K comparable] struct {
	winKey[K]
	At int64
}

type timerEntry[K comparable] struct {
	at   int64
	word uint64 // of the key
	key  winKey[K]
}

func (e *timerEntry[K]) less(o *timerEntry[K]) bool {
	if e.at != o.at {
		return e.at < o.at
	}
	return cmp.Or(cmp.Compare(e.word, o.word), cmp.Compare(e.key.Start, o.key.Start), cmp.Compare(e.key.End, o.key.End)) < 0
}

// windowTimers are the timers of windows in one kind of time. Which ones are
// set stands in a table, which is what a snapshot takes; the heap says which is
// next and still holds those deleted meanwhile. Timers of one time fire in an
// order that only they decide, so that it is the same after a restore.
type windowTimers[K comparable] struct {
	set  *table.Table[timerKey[K], struct{}]
	heap []timerEntry[K]
	keys *codec.Codec[K]
}

func newWindowTimers[K comparable](groups keygroup.Range, keys *codec.Codec[K]) *windowTimers[K] {
	return &windowTimers[K]{set: table.New[timerKey[K], struct{}](groups, table.Options{}), keys: keys}
}

// add sets a timer; word is the key's.
func (t *windowTimers[K]) add(word uint64, k winKey[K], at int64) {
	tk := timerKey[K]{k, at}
	if _, created := t.set.Upsert(t.word(word, tk), tk); !created {
		return
	}
	t.keys.Own(&k.Key) // it may be borrowed from a batch
	t.push(timerEntry[K]{at, word, k})
}

func (t *windowTimers[K]) word(word uint64, tk timerKey[K]) uint64 {
	return mix(word, tk.Start^tk.At<<1, tk.End+tk.At)
}

func (t *windowTimers[K]) push(e timerEntry[K]) {
	h := append(t.heap, e)
	i := len(h) - 1
	for i > 0 {
		p := (i - 1) / 4
		if !e.less(&h[p]) {
			break
		}
		h[i] = h[p]
		i = p
	}
	h[i] = e
	t.heap = h
}

// remove deletes a timer, if it is set.
func (t *windowTimers[K]) remove(word uint64, k winKey[K], at int64) {
	tk := timerKey[K]{k, at}
	if t.set.Delete(t.word(word, tk), tk) && t.set.Len() == 0 {
		t.heap = t.heap[:0]
	}
}

// next is the time of the next timer.
func (t *windowTimers[K]) next() (int64, bool) {
	for len(t.heap) > 0 {
		e := &t.heap[0]
		tk := timerKey[K]{e.key, e.at}
		if t.set.Get(t.word(e.word, tk), tk) != nil {
			return e.at, true
		}
		t.pop()
	}
	return 0, false
}

// take removes and returns the next timer that is due at to.
func (t *windowTimers[K]) take(to int64) (e timerEntry[K], ok bool) {
	for len(t.heap) > 0 && t.heap[0].at <= to {
		e = t.pop()
		tk := timerKey[K]{e.key, e.at}
		if t.set.Delete(t.word(e.word, tk), tk) {
			return e, true
		}
	}
	return e, false
}

func (t *windowTimers[K]) pop() timerEntry[K] {
	h := t.heap
	top := h[0]
	n := len(h) - 1
	e := h[n]
	h[n] = timerEntry[K]{}
	h = h[:n]
	t.heap = h
	i := 0
	for {
		c := 4*i + 1
		if c >= n {
			break
		}
		for j, last := c+1, min(c+4, n); j < last; j++ {
			if h[j].less(&h[c]) {
				c = j
			}
		}
		if !h[c].less(&e) {
			break
		}
		h[i] = h[c]
		i = c
	}
	if n > 0 {
		h[i] = e
	}
	return top
}
