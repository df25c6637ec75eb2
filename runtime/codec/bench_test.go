package codec

import (
	"fmt"
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
	keys := make([]byte, 0, 1<<16)
	b.Run("append", func(b *testing.B) { perRow(b, n, func() { buf = c.AppendRows(buf[:0], rows) }) })
	b.Run("decode", func(b *testing.B) { perRow(b, n, func() { must(c.DecodeRows(buf, out)) }) })
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
