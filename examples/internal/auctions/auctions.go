// Package auctions makes sources of the Nexmark generator's bids, people and
// auctions for the examples.
package auctions

import (
	"context"
	"encoding/binary"
	"io"
	"strconv"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/benchmarks/nexmark"
)

// rate is the number of events in a second of event time.
const rate = 2000

// Bids is a source of the bids among the first n events.
func Bids(n int64) millrace.Source[nexmark.Bid] {
	return source[nexmark.Bid]{n, (*nexmark.Generator).Bids}
}

// Persons is a source of the people among the first n events.
func Persons(n int64) millrace.Source[nexmark.Person] {
	return source[nexmark.Person]{n, (*nexmark.Generator).Persons}
}

// Auctions is a source of the auctions among the first n events.
func Auctions(n int64) millrace.Source[nexmark.Auction] {
	return source[nexmark.Auction]{n, (*nexmark.Generator).Auctions}
}

type source[T any] struct {
	n      int64
	cursor func(*nexmark.Generator, nexmark.Split) (*nexmark.Cursor[T], error)
}

// Bounded says no so that all splits are read side by side: each spans the
// whole of event time, and one read after another would be late. They do end.
func (source[T]) Bounded() bool { return false }

func (source[T]) Splits(_ context.Context, parallelism int) (splits []millrace.Split, err error) {
	for i := range parallelism {
		data := binary.AppendUvarint(binary.AppendUvarint(nil, uint64(i)), uint64(parallelism))
		splits = append(splits, millrace.Split{ID: strconv.Itoa(i), Data: data})
	}
	return splits, nil
}

func (s source[T]) Open(_ context.Context, sp millrace.Split, at millrace.Position) (millrace.Reader[T], error) {
	index, n := binary.Uvarint(sp.Data)
	count, _ := binary.Uvarint(sp.Data[n:])
	g, err := nexmark.New(nexmark.Options{Events: s.n, Rate: rate})
	if err != nil {
		return nil, err
	}
	c, err := s.cursor(g, nexmark.Split{Index: int(index), Count: int(count)})
	if err != nil {
		return nil, err
	}
	if at != nil {
		position, _ := binary.Uvarint(at)
		c.MoveTo(int64(position))
	}
	return reader[T]{c}, nil
}

type reader[T any] struct{ c *nexmark.Cursor[T] }

func (reader[T]) ReadsInline() {}

func (r reader[T]) Read(_ context.Context, out *millrace.Rows[T]) error {
	var one [1]T
	for out.Room() > 0 {
		if r.c.Next(one[:]) == 0 {
			return io.EOF
		}
		out.Append(one[0])
	}
	return nil
}

func (r reader[T]) Position() millrace.Position {
	return binary.AppendUvarint(nil, uint64(r.c.Position()))
}
func (reader[T]) Close() error { return nil }

// All returns what a source holds, for tests.
func All[T any](src millrace.Source[T]) (recs []T, err error) {
	ctx := context.Background()
	splits, err := src.Splits(ctx, 1)
	if err != nil {
		return nil, err
	}
	for _, sp := range splits {
		r, err := src.Open(ctx, sp, nil)
		if err != nil {
			return nil, err
		}
		for rows := millrace.NewRows[T](1000); err == nil; rows.Reset() {
			err = r.Read(ctx, rows)
			recs = append(recs, rows.Records()...)
		}
		if err != io.EOF {
			return nil, err
		}
	}
	return recs, nil
}
