package codec

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
)

// bytesOfRich are encodings of random values.
func bytesOfRich(seeds int) [][]byte {
	c := must(Of[rich]())
	var all [][]byte
	for seed := range seeds {
		var v rich
		fill(rand.New(rand.NewPCG(uint64(seed), 6)), reflect.ValueOf(&v).Elem(), 0)
		all = append(all, c.Append(nil, &v))
	}
	return all
}

// Any bytes are refused or are the one encoding of what they decode to, and
// plans over raw memory agree in all with the plain version by reflection.
func FuzzPlanAgreesWithPlain(f *testing.F) {
	for _, b := range bytesOfRich(8) {
		f.Add(b)
	}
	c := must(Of[rich]())
	f.Fuzz(func(t *testing.T, src []byte) {
		var fast, owned, plain rich
		rest, err := c.Decode(src, &fast)
		plainRest, plainErr := plainDecode(src, c.shape, reflect.ValueOf(&plain).Elem(), 0)
		if (err == nil) != (plainErr == nil) || !bytes.Equal(rest, plainRest) {
			t.Fatalf("plan: rest %x, error %v; plain: rest %x, error %v", rest, err, plainRest, plainErr)
		}
		ownedRest, ownedErr := c.DecodeOwned(src, &owned)
		if (ownedErr == nil) != (err == nil) || !bytes.Equal(rest, ownedRest) {
			t.Fatalf("owned: rest %x, error %v; error %v", ownedRest, ownedErr, err)
		}
		if err != nil {
			return
		}
		used := src[:len(src)-len(rest)]
		var clone rich
		c.Clone(&clone, &plain)
		var plainClone = plain
		plainOwn(c.shape, reflect.ValueOf(&plainClone).Elem(), true, 0)
		for name, v := range map[string]*rich{"plan": &fast, "owned": &owned, "plain": &plain, "clone": &clone, "plain clone": &plainClone} {
			if enc := c.Append(nil, v); !bytes.Equal(enc, used) {
				t.Fatalf("%s: decoded from %x, encodes to %x", name, used, enc)
			}
			if enc := plainAppend(nil, c.shape, reflect.ValueOf(v).Elem(), 0); !bytes.Equal(enc, used) {
				t.Fatalf("%s: decoded from %x, plainly encodes to %x", name, used, enc)
			}
		}
	})
}

// Random values round trip, whatever the generator makes.
func FuzzRoundTrip(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	c := must(Of[rich]())
	f.Fuzz(func(t *testing.T, a, b uint64) {
		var v, got rich
		fill(rand.New(rand.NewPCG(a, b)), reflect.ValueOf(&v).Elem(), 0)
		if rest, err := c.Decode(c.Append(nil, &v), &got); err != nil || len(rest) > 0 || !reflect.DeepEqual(got, v) {
			t.Fatalf("got %+v, rest %x, error %v; want %+v", got, rest, err, v)
		}
	})
}

// What a schema parser accepts encodes to the same bytes, can be printed, and
// can be read from if a type matches it.
func FuzzParseSchema(f *testing.F) {
	for _, s := range []Schema{
		must(Of[rich]()).Schema(), must(Of[node]()).Schema(), must(Of[orderV1]()).Schema(), FromCustom[celsius](celsiusCodec{3}).Schema(),
	} {
		b, _ := s.AppendBinary(nil)
		f.Add(b, []byte("\x01\x00\x00\x00some bytes"))
	}
	c := must(Of[orderV2]())
	f.Fuzz(func(t *testing.T, src, data []byte) {
		s, err := ParseSchema(src)
		if err != nil {
			return
		}
		if again, _ := s.AppendBinary(nil); !bytes.Equal(again, src) {
			t.Fatalf("parsed from %x, encodes to %x", src, again)
		}
		_ = s.String()
		if !s.Same(s) {
			t.Fatal("a schema differs from itself")
		}
		if !s.IsZero() && len(data) >= s.types[0].head {
			_, _ = s.skip(0, data, data[s.types[0].head:], 0)
		}
		if read, err := c.Reader(s); err == nil {
			var v orderV2
			_, _ = read(data, &v)
		}
	})
}

// Bytes of an older declaration are read or refused, never worse.
func FuzzReader(f *testing.F) {
	w, c := must(Of[orderV1]()), must(Of[orderV2]())
	for seed := range uint64(8) {
		var v orderV1
		fill(rand.New(rand.NewPCG(seed, 7)), reflect.ValueOf(&v).Elem(), 0)
		f.Add(w.Append(nil, &v))
	}
	read := must(c.Reader(w.Schema()))
	f.Fuzz(func(t *testing.T, src []byte) {
		var old orderV1
		var v orderV2
		rest, err := w.Decode(src, &old)
		newRest, newErr := read(src, &v)
		if err == nil && (newErr != nil || !bytes.Equal(rest, newRest)) {
			t.Fatalf("rest %x as written; as read rest %x, error %v", rest, newRest, newErr)
		}
		if newErr == nil {
			c.Append(nil, &v)
		}
	})
}

// As for FuzzPlanAgreesWithPlain, for keys.
func FuzzOrdered(f *testing.F) {
	c := must(OrderedOf[key]())
	for seed := range uint64(8) {
		f.Add(c.Append(nil, randomKey(rand.New(rand.NewPCG(seed, 8)))))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		var fast, plain key
		rest, err := c.Decode(src, &fast)
		plainRest, plainErr := plainDecodeOrdered(src, c.shape, reflect.ValueOf(&plain).Elem())
		if (err == nil) != (plainErr == nil) || !bytes.Equal(rest, plainRest) {
			t.Fatalf("plan: rest %x, error %v; plain: rest %x, error %v", rest, err, plainRest, plainErr)
		}
		if err != nil {
			return
		}
		used := src[:len(src)-len(rest)]
		for name, v := range map[string]*key{"plan": &fast, "plain": &plain} {
			if enc := c.Append(nil, v); !bytes.Equal(enc, used) {
				t.Fatalf("%s: decoded from %x, encodes to %x", name, used, enc)
			}
			if enc := plainAppendOrdered(nil, c.shape, reflect.ValueOf(v).Elem()); !bytes.Equal(enc, used) {
				t.Fatalf("%s: decoded from %x, plainly encodes to %x", name, used, enc)
			}
		}
	})
}
