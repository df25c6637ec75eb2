package formattest

import (
	"fmt"
	"math"
	"math/rand/v2"
	"time"
)

// Level is a defined type, as programs have them.
type Level int32

// Record has a field of every kind that the formats share.
type Record struct {
	ID     int64     `csv:"id" json:"id" parquet:"id" avro:"id"`
	Name   string    `csv:"name" json:"name" parquet:"name" avro:"name"`
	Small  int8      `csv:"small" json:"small" parquet:"small" avro:"small"`
	Short  int16     `csv:"short" json:"short" parquet:"short" avro:"short"`
	Level  Level     `csv:"level" json:"level" parquet:"level" avro:"level"`
	Port   uint16    `csv:"port" json:"port" parquet:"port" avro:"port"`
	Hash   uint32    `csv:"hash" json:"hash" parquet:"hash" avro:"hash"`
	Ratio  float32   `csv:"ratio" json:"ratio" parquet:"ratio" avro:"ratio"`
	Score  float64   `csv:"score" json:"score" parquet:"score" avro:"score"`
	OK     bool      `csv:"ok" json:"ok" parquet:"ok" avro:"ok"`
	At     time.Time `csv:"at" json:"at" parquet:"at,timestamp(microsecond)" avro:"at"`
	Raw    []byte    `csv:"raw" json:"raw" parquet:"raw" avro:"raw"`
	City   *string   `csv:"city" json:"city" parquet:"city,optional" avro:"city"`
	Weight *float64  `csv:"weight" json:"weight" parquet:"weight,optional" avro:"weight"`

	// Took is left out by formats without durations.
	Took time.Duration `csv:"took" json:"took" parquet:"took" avro:"took"`
}

// Records are n records from a seed, with the values that formats get wrong.
func Records(seed uint64, n int) []Record {
	rng := rand.New(rand.NewPCG(seed, 0))
	recs := make([]Record, n)
	words := []string{"", "a", "Zürich", "comma, here", `quote " here`, "line\nbreak", "cr\r\nlf", " spaced ", `"`, ",", "plain", "x\ty"}
	for i := range recs {
		r := Record{
			ID:    rng.Int64() - rng.Int64(),
			Name:  words[rng.IntN(len(words))],
			Small: int8(rng.Uint32()),
			Short: int16(rng.Uint32()),
			Level: Level(rng.Uint32()),
			Port:  uint16(rng.Uint32()),
			Hash:  rng.Uint32(),
			Ratio: rng.Float32(),
			Score: math.Round(rng.NormFloat64()*1e6) / 1e3,
			OK:    rng.IntN(2) == 0,
			At:    time.UnixMicro(rng.Int64N(4e15) - 1e15).UTC(),
			Raw:   []byte(words[rng.IntN(len(words))]),
			Took:  time.Duration(rng.Int64N(1e9)) * time.Microsecond,
		}
		if rng.IntN(3) > 0 {
			s := fmt.Sprint(words[rng.IntN(len(words))], rng.IntN(5))
			if rng.IntN(4) == 0 {
				s = ""
			}
			r.City = &s
		}
		if rng.IntN(3) > 0 {
			w := rng.Float64()
			r.Weight = &w
		}
		recs[i] = r
	}
	return recs
}
