package blob

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"iter"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// Memory is a Store in memory, for tests and simulations. Hook lets it fail.
// It reads no clock and starts no goroutine, so that a run that calls it in the
// same order has the same outcome. The zero value is an empty store.
type Memory struct {
	// Hook, if set, is asked before each operation what is to go wrong. It is
	// called for one operation at a time. Set it before the first use, or when
	// nothing else uses the store.
	Hook func(Op) Fault
	// Sleep serves Fault.Delay; without it there are no delays.
	Sleep func(ctx context.Context, d time.Duration) error
	// Now is the time of Info.Modified; without it that is zero.
	Now func() time.Time
	// Torn makes the store one whose Puts are not atomic: Fault.Torn works.
	Torn bool

	mu      sync.Mutex
	objects map[string]object
	ops     int
}

type object struct {
	data     []byte
	modified time.Time
}

// OpKind is a kind of operation of a Store.
type OpKind uint8

// The operations. Each Get, each Stat and each List is one; each name of a
// Delete is one, so that a Delete may end half done.
const (
	OpPut OpKind = iota + 1
	OpPutNew
	OpGet
	OpStat
	OpList
	OpDelete
)

// String is the operation's name.
func (k OpKind) String() string {
	switch k {
	case OpPut:
		return "put"
	case OpPutNew:
		return "put new"
	case OpGet:
		return "get"
	case OpStat:
		return "stat"
	case OpList:
		return "list"
	case OpDelete:
		return "delete"
	default:
		return fmt.Sprintf("OpKind(%d)", k)
	}
}

// Writes reports whether the operation changes the store.
func (k OpKind) Writes() bool { return k == OpPut || k == OpPutNew || k == OpDelete }

// An Op is an operation about to be done. N counts them from 1.
type Op struct {
	N    int
	Kind OpKind
	Name string
	// Size is that of the object to be put.
	Size int
}

// A Fault is what goes wrong with an operation; the zero Fault is nothing.
type Fault struct {
	// Delay is how long it takes before anything happens.
	Delay time.Duration
	// Err is what the operation returns.
	Err error
	// Done says that it is carried out although Err is returned: the
	// acknowledgement is lost.
	Done bool
	// Torn, if above 0, is how many of the bytes of a Put become visible
	// although Err is returned. Only for a store that is Torn: others keep
	// objects whole, whatever happens.
	Torn int
}

// String implements [Store].
func (m *Memory) String() string { return "memory:" }

// begin counts the operation, asks the hook and serves the delay.
func (m *Memory) begin(ctx context.Context, kind OpKind, name string, size int) (f Fault, err error) {
	if err := ctx.Err(); err != nil {
		return Fault{}, err
	}
	if kind != OpList {
		if err := CheckName(name); err != nil {
			return Fault{}, err
		}
	}
	m.mu.Lock()
	m.ops++
	op := Op{N: m.ops, Kind: kind, Name: name, Size: size}
	if m.Hook != nil {
		f = m.Hook(op)
	}
	sleep := m.Sleep
	m.mu.Unlock()
	if f.Delay > 0 && sleep != nil {
		if err := sleep(ctx, f.Delay); err != nil {
			return Fault{}, err
		}
	}
	if f.Err != nil {
		f.Err = fmt.Errorf("%s %s in %s: %w", kind, name, m, f.Err)
	}
	return f, nil
}

// Put implements [Store].
func (m *Memory) Put(ctx context.Context, name string, r io.Reader) error {
	return m.put(ctx, OpPut, name, r)
}

// PutNew implements [Store].
func (m *Memory) PutNew(ctx context.Context, name string, r io.Reader) error {
	return m.put(ctx, OpPutNew, name, r)
}

func (m *Memory) put(ctx context.Context, kind OpKind, name string, r io.Reader) error {
	data, err := io.ReadAll(contextReader{ctx, r})
	if err != nil {
		return fmt.Errorf("%s %s in %s: %w", kind, name, m, err)
	}
	f, err := m.begin(ctx, kind, name, len(data))
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	_, there := m.objects[name]
	if kind == OpPutNew && there {
		if f.Err != nil {
			return f.Err
		}
		return fmt.Errorf("%s %s in %s: %w", kind, name, m, ErrExists)
	}
	if f.Err != nil {
		switch {
		case f.Done:
		case m.Torn && f.Torn > 0:
			data = data[:min(f.Torn, len(data))]
		default:
			return f.Err
		}
	}
	if m.objects == nil {
		m.objects = map[string]object{}
	}
	o := object{data: bytes.Clone(data)}
	if m.Now != nil {
		o.modified = m.Now()
	}
	m.objects[name] = o
	return f.Err
}

// Get implements [Store].
func (m *Memory) Get(ctx context.Context, name string, off, n int64) (io.ReadCloser, error) {
	f, err := m.begin(ctx, OpGet, name, 0)
	if err != nil {
		return nil, err
	}
	if f.Err != nil {
		return nil, f.Err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[name]
	if !ok {
		return nil, fmt.Errorf("get %s in %s: %w", name, m, ErrNotExist)
	}
	data := o.data[min(max(off, 0), int64(len(o.data))):] // objects are never changed in place
	if n >= 0 {
		data = data[:min(n, int64(len(data)))]
	}
	return io.NopCloser(bytes.NewReader(data)), nil
}

// Stat implements [Store].
func (m *Memory) Stat(ctx context.Context, name string) (Info, error) {
	f, err := m.begin(ctx, OpStat, name, 0)
	if err != nil {
		return Info{}, err
	}
	if f.Err != nil {
		return Info{}, f.Err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	o, ok := m.objects[name]
	if !ok {
		return Info{}, fmt.Errorf("stat %s in %s: %w", name, m, ErrNotExist)
	}
	return Info{Name: name, Size: int64(len(o.data)), Modified: o.modified}, nil
}

// List implements [Store].
func (m *Memory) List(ctx context.Context, prefix string) iter.Seq2[Info, error] {
	return func(yield func(Info, error) bool) {
		f, err := m.begin(ctx, OpList, prefix, 0)
		if err == nil {
			err = f.Err
		}
		if err != nil {
			yield(Info{}, err)
			return
		}
		m.mu.Lock()
		var all []Info
		for _, name := range slices.Sorted(maps.Keys(m.objects)) {
			if strings.HasPrefix(name, prefix) {
				o := m.objects[name]
				all = append(all, Info{Name: name, Size: int64(len(o.data)), Modified: o.modified})
			}
		}
		m.mu.Unlock()
		for _, i := range all {
			if !yield(i, nil) {
				return
			}
		}
	}
}

// Delete implements [Store].
func (m *Memory) Delete(ctx context.Context, names ...string) error {
	for _, name := range names {
		f, err := m.begin(ctx, OpDelete, name, 0)
		if err != nil {
			return err
		}
		if f.Err == nil || f.Done {
			m.mu.Lock()
			delete(m.objects, name)
			m.mu.Unlock()
		}
		if f.Err != nil {
			return f.Err
		}
	}
	return nil
}

// Ops is the number of operations so far.
func (m *Memory) Ops() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.ops
}

// Clone returns a store with the same objects, and without hooks.
func (m *Memory) Clone() *Memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &Memory{Torn: m.Torn, Now: m.Now, Sleep: m.Sleep, objects: maps.Clone(m.objects)}
}
