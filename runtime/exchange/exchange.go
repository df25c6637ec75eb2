// Package exchange moves batches from one subtask to another within a process:
// it decides which target a row goes to, fills one batch per target, and bounds
// how much is under way. It knows nothing of operators or tasks; a task reads
// its [Inbox] and writes to its [Output]s.
//
// A batch changes owner: the producer fills a batch of the link's pool and
// puts it into the consumer's inbox, the consumer returns it when it has read
// it. The number of batches not returned is the link's credit in use. A
// producer may overdraw it by what one step makes, and is not stepped again
// until there is credit.
package exchange

import (
	"sync"
	"sync/atomic"

	"github.com/millrace/millrace/runtime/record"
)

// Credit is the number of batches that may be under way on one link: enough to
// keep a consumer busy while its producer is scheduled, few enough that a full
// queue is well under a millisecond of work.
const Credit = 8

// Kind says what a message is.
type Kind uint8

const (
	// Data carries a batch.
	Data Kind = iota
	// Watermark carries an event time in milliseconds.
	Watermark
	// Status carries 1 when the channel falls idle and 0 when it is active
	// again.
	Status
	// End says that nothing more comes on the channel.
	End
	// Barrier carries the id of a checkpoint: what came before it on the
	// channel is in the snapshot, what comes after it is not.
	Barrier
)

// A Message is what a consumer takes from its inbox. Messages of one channel
// come in the order they were sent.
type Message struct {
	// Batch is a *record.Batch[T] for Data, T being the channel's type.
	Batch any
	Value int64
	// Channel is the index of the channel among all of the consumer's.
	Channel int32
	Kind    Kind
}

// An Inbox is the queue of everything that comes to one task, from all of its
// channels. Put may be called from any goroutine and never blocks: links bound
// how much is in it. Take is for the task alone.
type Inbox struct {
	wake func()

	depth atomic.Int32 // messages put and not yet reported done

	mu sync.Mutex
	q  []Message
}

// NewInbox returns an empty inbox. wake is called, from the producer's
// goroutine, when a message comes into an empty queue.
func NewInbox(wake func()) *Inbox { return &Inbox{wake: wake} }

// Put adds a message.
func (b *Inbox) Put(m Message) {
	b.depth.Add(1)
	b.mu.Lock()
	b.q = append(b.q, m)
	first := len(b.q) == 1
	b.mu.Unlock()
	if first {
		b.wake()
	}
}

// Take returns all messages in the queue, which becomes empty. spare is used
// for the next ones; its content is lost.
func (b *Inbox) Take(spare []Message) []Message {
	b.mu.Lock()
	q := b.q
	b.q = spare[:0]
	b.mu.Unlock()
	return q
}

// Done reports n taken messages as handled.
func (b *Inbox) Done(n int) { b.depth.Add(int32(-n)) }

// Idle reports whether the task has nothing to do: everything put has been
// handled. Producers flush what they have to an idle consumer.
func (b *Inbox) Idle() bool { return b.depth.Load() == 0 }

// A Link is one channel, from a producer subtask to a consumer subtask, seen
// from the producer. Only [Link.Return] is called by the consumer.
type Link[T any] struct {
	to      *Inbox
	channel int32
	size    int
	wake    func() // of the producer
	prepare func(*record.Batch[T])

	free    chan *record.Batch[T] // returned batches; also makes them visible to the producer
	used    atomic.Int32          // batches sent and not returned
	waiting atomic.Bool           // the producer wants to be woken by the next return

	open *record.Batch[T] // being filled; nil before the first row
}

func newLink[T any](t Target, size int, wake func(), prepare func(*record.Batch[T])) *Link[T] {
	return &Link[T]{to: t.Inbox, channel: t.Channel, size: size, wake: wake, prepare: prepare,
		free: make(chan *record.Batch[T], 2*Credit)}
}

// Return takes back a batch that the consumer has read.
func (l *Link[T]) Return(b *record.Batch[T]) {
	b.Reset()
	select {
	case l.free <- b:
	default: // overdrawn: let it go
	}
	l.used.Add(-1)
	if l.waiting.Load() && l.waiting.CompareAndSwap(true, false) {
		l.wake()
	}
}

// batch returns the open batch, with room for at least one row.
func (l *Link[T]) batch() *record.Batch[T] {
	if l.open != nil {
		return l.open
	}
	select {
	case l.open = <-l.free:
	default:
		l.open = record.New[T](l.size)
		l.open.Home = l
		if l.prepare != nil {
			l.prepare(l.open)
		}
	}
	return l.open
}

// send hands the open batch over.
func (l *Link[T]) send() {
	b := l.open
	l.open = nil
	l.used.Add(1)
	l.to.Put(Message{Channel: l.channel, Kind: Data, Batch: b})
}

func (l *Link[T]) flush(all bool) {
	if l.open != nil && len(l.open.Rows) > 0 && (all || l.to.Idle()) {
		l.send()
	}
}

func (l *Link[T]) control(k Kind, v int64) {
	l.flush(true)
	l.to.Put(Message{Channel: l.channel, Kind: k, Value: v})
}

// A Target is the consumer's end of a channel to be made.
type Target struct {
	Inbox   *Inbox
	Channel int32
}

// An Output is a task's way out to the subtasks of one consumer, whatever the
// type of its records.
type Output interface {
	// Control sends a watermark, a status or the end to every target, after
	// the rows written so far.
	Control(k Kind, v int64)
	// Flush sends batches that are not full: all of them, or those whose
	// consumer has nothing else to do.
	Flush(all bool)
	// Blocked reports whether some target has no credit left.
	Blocked() bool
	// AwaitCredit asks for one call of the producer's wake when credit comes
	// back, and reports whether there is still none: if not, no call comes.
	AwaitCredit() bool
}

// links is the part of an Output that does not depend on how rows are routed.
type links[T any] []*Link[T]

func newLinks[T any](targets []Target, size int, wake func(), prepare func(*record.Batch[T])) links[T] {
	ls := make(links[T], len(targets))
	for i, t := range targets {
		ls[i] = newLink(t, size, wake, prepare)
	}
	return ls
}

// Control implements [Output].
func (ls links[T]) Control(k Kind, v int64) {
	for _, l := range ls {
		l.control(k, v)
	}
}

// Flush implements [Output].
func (ls links[T]) Flush(all bool) {
	for _, l := range ls {
		l.flush(all)
	}
}

// Blocked implements [Output].
func (ls links[T]) Blocked() bool {
	for _, l := range ls {
		if l.used.Load() >= Credit {
			return true
		}
	}
	return false
}

// AwaitCredit implements [Output].
func (ls links[T]) AwaitCredit() bool {
	for _, l := range ls {
		if l.used.Load() < Credit {
			continue
		}
		l.waiting.Store(true)
		if l.used.Load() >= Credit {
			return true // the return that makes room will call wake
		}
		l.waiting.Store(false)
	}
	return false
}
