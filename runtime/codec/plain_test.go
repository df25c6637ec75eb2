package codec

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"
)

// Hosts whose memory is not laid out like the bytes have no plans: the codec
// must do all it does without.
func TestCodecsWorkWithoutPlans(t *testing.T) {
	defer func(was bool) { hostMatches = was }(hostMatches)
	planned, plannedKeys := must(Of[rich]()), must(OrderedOf[key]())
	written := must(Of[orderV1]())
	readPlanned := must(must(Of[orderV2]()).Reader(written.Schema()))
	hostMatches = false
	var r Registry
	c, reader := must(OfIn[rich](&r)), must(OfIn[orderV2](&r))
	read := must(reader.Reader(written.Schema()))
	keys := &Ordered[key]{shape: plannedKeys.shape}
	for seed := range uint64(50) {
		rng := rand.New(rand.NewPCG(seed, 10))
		var v, got, owned, clone rich
		fill(rng, reflect.ValueOf(&v).Elem(), 0)
		fill(rng, reflect.ValueOf(&got).Elem(), 0)
		got.hidden = new(int)
		enc := c.Append(nil, &v)
		if !bytes.Equal(enc, planned.Append(nil, &v)) {
			t.Fatalf("seed %d: encoded to %x", seed, enc)
		}
		_, err1 := c.Decode(enc, &got)
		_, err2 := c.DecodeOwned(enc, &owned)
		c.Clone(&clone, &got)
		c.Own(&got)
		if err1 != nil || err2 != nil || !reflect.DeepEqual(got, v) || !reflect.DeepEqual(owned, v) || !reflect.DeepEqual(clone, v) {
			t.Fatalf("seed %d: got %+v, owned %+v, clone %+v, errors %v, %v; want %+v", seed, got, owned, clone, err1, err2, v)
		}
		if _, err := c.Decode(enc[:len(enc)-1], &got); err == nil {
			t.Fatalf("seed %d: decoded one byte short", seed)
		}

		var old orderV1
		var now, nowPlanned orderV2
		fill(rng, reflect.ValueOf(&old).Elem(), 0)
		enc = written.Append(nil, &old)
		_, err1 = read(enc, &now)
		_, err2 = readPlanned(enc, &nowPlanned)
		if err1 != nil || err2 != nil || !reflect.DeepEqual(now, nowPlanned) {
			t.Fatalf("seed %d: read %+v, by plan %+v, errors %v, %v", seed, now, nowPlanned, err1, err2)
		}

		k, back := randomKey(rng), new(key)
		enc = keys.Append(nil, k)
		if _, err := keys.Decode(enc, back); err != nil || !bytes.Equal(enc, plannedKeys.Append(nil, back)) {
			t.Fatalf("seed %d: key %+v came back as %+v, error %v", seed, k, back, err)
		}
	}
}
