package codec

import (
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
)

// benchRows is a batch like those the docs/go-performance figures are for: 72-byte
// rows of five integers and two strings, 83 bytes encoded.
func benchRows(n int) []bid {
	rows := make([]bid, n)
	for i := range rows {
		k := int64(i)
		rows[i] = bid{k, 2 * k, 3 * k, 1_700_000_000_000 + k, 5 * k, fmt.Sprintf("channel-%d", i%100), fmt.Sprintf("https://n.io/%d/item.htm", i%1000)}
	}
	return rows
}

func perRow(b *testing.B, rows int, f func()) {
	b.ReportAllocs()
	for b.Loop() {
		f()
	}
	perOp := b.Elapsed().Seconds() / float64(b.N) / float64(rows)
	b.ReportMetric(perOp*1e9, "ns/record")
	b.ReportMetric(1/perOp, "records/s")
}

func BenchmarkBid(b *testing.B) {
	const n = 256
	c, o := must(Of[bid]()), must(OrderedOf[bid]())
	rows, out := benchRows(n), make([]bid, n)
	buf := c.AppendRows(nil, rows)
	var keys []byte
	for i := range rows {
		keys = o.Append(keys, &rows[i])
	}
	b.Run("append", func(b *testing.B) { perRow(b, n, func() { buf = c.AppendRows(buf[:0], rows) }) })
	b.Run("decode", func(b *testing.B) { perRow(b, n, func() { must(c.DecodeRows(buf, out)) }) })
	b.Run("append-by-hand", func(b *testing.B) { perRow(b, n, func() { buf = appendByHand(buf[:0], rows) }) })
	b.Run("decode-by-hand", func(b *testing.B) {
		perRow(b, n, func() {
			if !decodeByHand(buf, out) {
				b.Fatal("short")
			}
		})
	})
	b.Run("decode-owned", func(b *testing.B) {
		perRow(b, n, func() {
			src := buf
			for i := range out {
				src = must(c.DecodeOwned(src, &out[i]))
			}
		})
	})
	b.Run("ordered-append", func(b *testing.B) {
		perRow(b, n, func() {
			keys = keys[:0]
			for i := range rows {
				keys = o.Append(keys, &rows[i])
			}
		})
	})
	b.Run("ordered-decode", func(b *testing.B) {
		perRow(b, n, func() {
			src := keys
			for i := range out {
				src = must(o.Decode(src, &out[i]))
			}
		})
	})
	type widerBid struct {
		Auction, Bidder, Price, DateTime, Extra int64
		Channel                                 string
		URL                                     string
		New                                     int
	}
	wide := must(Of[widerBid]())
	read, to := must(wide.Reader(c.Schema())), make([]widerBid, n)
	b.Run("reader-field-added", func(b *testing.B) {
		perRow(b, n, func() {
			src := buf
			for i := range to {
				src = must(read(src, &to[i]))
			}
		})
	})
}

// appendByHand and decodeByHand are what a careful person would write for a
// bid, with the same layout: the bound for what plans can reach.
func appendByHand(dst []byte, rows []bid) []byte {
	le := binary.LittleEndian
	for i := range rows {
		r := &rows[i]
		n, need := len(dst), 48+len(r.Channel)+len(r.URL)
		dst = slices.Grow(dst, need)[:n+need]
		d := dst[n:]
		le.PutUint64(d[0:], uint64(r.Auction))
		le.PutUint64(d[8:], uint64(r.Bidder))
		le.PutUint64(d[16:], uint64(r.Price))
		le.PutUint64(d[24:], uint64(r.DateTime))
		le.PutUint64(d[32:], uint64(r.Extra))
		le.PutUint32(d[40:], uint32(len(r.Channel)))
		le.PutUint32(d[44:], uint32(len(r.URL)))
		copy(d[48+copy(d[48:], r.Channel):], r.URL)
	}
	return dst
}

func decodeByHand(src []byte, rows []bid) bool {
	le := binary.LittleEndian
	for i := range rows {
		if len(src) < 48 {
			return false
		}
		r := &rows[i]
		r.Auction = int64(le.Uint64(src[0:]))
		r.Bidder = int64(le.Uint64(src[8:]))
		r.Price = int64(le.Uint64(src[16:]))
		r.DateTime = int64(le.Uint64(src[24:]))
		r.Extra = int64(le.Uint64(src[32:]))
		n, m := int(le.Uint32(src[40:])), int(le.Uint32(src[44:]))
		src = src[48:]
		if n+m > len(src) {
			return false
		}
		r.Channel, r.URL = view(src[:n]), view(src[n:n+m])
		src = src[n+m:]
	}
	return true
}
