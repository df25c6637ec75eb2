package table

import (
	"reflect"
	"strings"
	"unsafe"
)

// stringsIn knows where the strings in a key of one type lie.
type stringsIn struct{ offsets []uintptr }

// stringsOf finds the strings in keys of a type by reflection: one that
// keygroup.NewHasher takes; there is nothing in it but numbers, strings, and
// arrays and structs of them.
func stringsOf(key reflect.Type) stringsIn {
	var offsets []uintptr
	var walk func(t reflect.Type, at uintptr)
	walk = func(t reflect.Type, at uintptr) {
		switch t.Kind() {
		case reflect.String:
			offsets = append(offsets, at)
		case reflect.Array:
			if n := len(offsets); t.Len() > 0 {
				if walk(t.Elem(), at); len(offsets) == n {
					return // no strings in the elements
				}
			}
			for i := 1; i < t.Len(); i++ {
				walk(t.Elem(), at+uintptr(i)*t.Elem().Size())
			}
		case reflect.Struct:
			for f := range t.Fields() {
				walk(f.Type, at+f.Offset)
			}
		}
	}
	walk(key, 0)
	return stringsIn{offsets}
}

func (s stringsIn) any() bool { return len(s.offsets) > 0 }

// own replaces the strings in the key at k by copies in a.
func (s stringsIn) own(a *arena, k unsafe.Pointer) {
	for _, at := range s.offsets {
		p := (*string)(unsafe.Add(k, at))
		*p = a.copy(*p)
	}
}

// clone replaces the strings in the key at k by copies that are objects of their own.
func (s stringsIn) clone(k unsafe.Pointer) {
	for _, at := range s.offsets {
		p := (*string)(unsafe.Add(k, at))
		*p = strings.Clone(*p)
	}
}

// disown tells a that the strings in the key at k are no longer used.
func (s stringsIn) disown(a *arena, k unsafe.Pointer) {
	for _, at := range s.offsets {
		a.live -= len(*(*string)(unsafe.Add(k, at)))
	}
}

const (
	chunkBytesMin = 64
	chunkBytesMax = 16 << 10
)

// An arena keeps the bytes of many strings in few objects. The strings point
// into chunks that the collector keeps as long as one of them does; the arena
// itself remembers only the chunk it is filling.
//
// Bytes of strings no longer used stay until their table rewrites its keys
// into a fresh arena, which it does when wasteful says so.
type arena struct {
	chunk []byte
	next  int // size of the next chunk
	live  int // bytes of strings in use
	total int // bytes of strings ever copied
}

func (a *arena) copy(s string) string {
	n := len(s)
	if n == 0 {
		return ""
	}
	if n > cap(a.chunk)-len(a.chunk) {
		if n > chunkBytesMax/4 {
			a.live += n
			a.total += n
			return strings.Clone(s) // its own object, without loss of the chunk's rest
		}
		a.next = min(max(2*a.next, chunkBytesMin, n), chunkBytesMax)
		a.chunk = make([]byte, 0, a.next)
	}
	at := len(a.chunk)
	a.chunk = append(a.chunk, s...)
	a.live += n
	a.total += n
	// Bytes of the chunk are written once, before anyone can see them.
	return unsafe.String(&a.chunk[at], n)
}

// wasteful reports whether more than half of the bytes are of strings no
// longer used.
func (a *arena) wasteful() bool { return a.total > 4*chunkBytesMin && a.total > 2*a.live }
