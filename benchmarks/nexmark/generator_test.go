package nexmark

import (
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"testing"
	"time"
)

func newGenerator(t testing.TB, opts Options) *Generator {
	t.Helper()
	g, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// collect reads a cursor to its end, step events at a time.
func collect[T any](t testing.TB, c *Cursor[T], err error, step int) []T {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	var all []T
	dst := make([]T, step)
	for {
		n := c.Next(dst)
		if n == 0 {
			return all
		}
		all = append(all, dst[:n]...)
	}
}

func allEvents(t testing.TB, g *Generator, s Split, step int) []Event {
	c, err := g.Events(s)
	return collect(t, c, err, step)
}

// flat returns an event without pointers, so that == compares all of it.
func flat(e Event) any {
	switch e.Kind {
	case KindPerson:
		return *e.Person
	case KindAuction:
		return *e.Auction
	}
	return e.Bid
}

func TestTypedCursorsMakeTheSameEventsAsTheMixedOne(t *testing.T) {
	for _, disorder := range []time.Duration{0, 700 * time.Millisecond} {
		g := newGenerator(t, Options{Events: 5017, Disorder: disorder})
		for _, s := range []Split{{}, {Index: 1, Count: 3}, {From: 123, To: 3456}, {Index: 2, Count: 4, From: 77, To: 2001}} {
			events := allEvents(t, g, s, 64)
			var people []Person
			var auctions []Auction
			var bids []Bid
			for _, e := range events {
				switch e.Kind {
				case KindPerson:
					people = append(people, *e.Person)
				case KindAuction:
					auctions = append(auctions, *e.Auction)
				case KindBid:
					bids = append(bids, e.Bid)
				}
			}
			for _, step := range []int{1, 7, 50, 256} {
				pc, err := g.Persons(s)
				if got := collect(t, pc, err, step); !slices.Equal(got, people) {
					t.Errorf("%+v disorder %v step %d: people differ: %d, want %d", s, disorder, step, len(got), len(people))
				}
				ac, err := g.Auctions(s)
				if got := collect(t, ac, err, step); !slices.Equal(got, auctions) {
					t.Errorf("%+v disorder %v step %d: auctions differ: %d, want %d", s, disorder, step, len(got), len(auctions))
				}
				bc, err := g.Bids(s)
				if got := collect(t, bc, err, step); !slices.Equal(got, bids) {
					t.Errorf("%+v disorder %v step %d: bids differ: %d, want %d", s, disorder, step, len(got), len(bids))
				}
				if got := bc.Passed(); got != int64(len(events)) {
					t.Errorf("%+v disorder %v step %d: bids passed %d events, want %d", s, disorder, step, got, len(events))
				}
			}
		}
	}
}

func TestSplitsTogetherMakeEveryEventOnce(t *testing.T) {
	g := newGenerator(t, Options{Events: 2345})
	whole := allEvents(t, g, Split{}, 256)
	if len(whole) != 2345 {
		t.Fatalf("made %d events, want 2345", len(whole))
	}
	count := func(splits ...Split) {
		t.Helper()
		seen := map[any]int{}
		n := 0
		for _, s := range splits {
			for _, e := range allEvents(t, g, s, 31) {
				seen[flat(e)]++
				n++
			}
		}
		for _, e := range whole {
			if seen[flat(e)] != 1 {
				t.Fatalf("%+v: %v made %d times", splits, flat(e), seen[flat(e)])
			}
		}
		if n != len(whole) {
			t.Errorf("%+v: made %d events, want %d", splits, n, len(whole))
		}
	}
	count(Split{Index: 0, Count: 2}, Split{Index: 1, Count: 2})
	count(Split{Index: 0, Count: 3}, Split{Index: 1, Count: 3}, Split{Index: 2, Count: 3})
	count(Split{To: 700}, Split{From: 700, To: 1333}, Split{From: 1333})
	count(Split{Index: 0, Count: 2, To: 333}, Split{Index: 1, Count: 2, To: 333}, Split{From: 333})
}

func TestSeekGoesOnWhereAnotherCursorStopped(t *testing.T) {
	for _, disorder := range []time.Duration{0, time.Second} {
		g := newGenerator(t, Options{Events: 3000, Disorder: disorder})
		s := Split{Index: 1, Count: 2, From: 60}
		bc, err := g.Bids(s)
		want := collect(t, bc, err, 10)
		for _, steps := range []int{0, 1, 5, 46, 47, 100} {
			a, _ := g.Bids(s)
			got := make([]Bid, steps)
			got = got[:a.Next(got)]
			b, _ := g.Bids(s)
			b.MoveTo(a.Position())
			if a.Passed() != b.Passed() {
				t.Errorf("after %d bids: passed %d, after MoveTo %d", steps, a.Passed(), b.Passed())
			}
			got = append(got, collect(t, b, nil, 64)...)
			if !slices.Equal(got, want) {
				t.Errorf("after %d bids: MoveTo(%d) gives another stream", steps, a.Position())
			}
		}
	}
}

func TestEventTimesRiseAndSpanTenSeconds(t *testing.T) {
	g := newGenerator(t, Options{Events: 20000})
	events := allEvents(t, g, Split{}, 256)
	for i := 1; i < len(events); i++ {
		if events[i].Millis() < events[i-1].Millis() {
			t.Fatalf("event %d at %d comes after one at %d", i, events[i].Millis(), events[i-1].Millis())
		}
	}
	first, last := events[0].Millis(), events[len(events)-1].Millis()
	if first != g.Options().Start || last-first != 9999 {
		t.Errorf("events span %d to %d, want 9999 ms from %d", first, last, g.Options().Start)
	}
}

func TestDisorderIsBoundedAndKeepsTheEvents(t *testing.T) {
	for _, opts := range []Options{
		{Events: 10007, Rate: 1000, Disorder: 3 * time.Second},
		{Events: 5000, Rate: 30000, Disorder: 50 * time.Millisecond},
		{Events: 100, Rate: 10, Disorder: time.Minute},
	} {
		g := newGenerator(t, opts)
		ordered := opts
		ordered.Disorder = 0
		seen := map[any]bool{}
		for _, e := range allEvents(t, newGenerator(t, ordered), Split{}, 256) {
			seen[flat(e)] = true
		}
		var newest, worst int64
		for _, e := range allEvents(t, g, Split{}, 256) {
			if !seen[flat(e)] {
				t.Fatalf("%+v: event is doubled or new: %v", opts, flat(e))
			}
			delete(seen, flat(e))
			newest = max(newest, e.Millis())
			worst = max(worst, newest-e.Millis())
		}
		if len(seen) != 0 {
			t.Errorf("%+v: %d events are missing", opts, len(seen))
		}
		if bound := opts.Disorder.Milliseconds(); worst > bound || worst < min(bound, g.Millis(opts.Events-1)-g.opts.Start)/2 {
			t.Errorf("%+v: greatest delay %d ms", opts, worst)
		}
	}
}

func TestFieldsFollowTheReference(t *testing.T) {
	const events = 200_000
	g := newGenerator(t, Options{Events: events, Rate: 50_000})
	var people, auctions, bids, hotAuction, hotBidder, hotSeller, hotChannel, withID int
	var personBytes, auctionBytes, bidBytes, logPrice float64
	var lives, categories, ids float64
	stateSet := map[string]bool{}
	prices := map[int64]bool{}
	for _, e := range allEvents(t, g, Split{}, 1000) {
		switch e.Kind {
		case KindPerson:
			p := e.Person
			if want := int64(FirstPersonID + people); p.ID != want {
				t.Fatalf("person %d has id %d", people, p.ID)
			}
			people++
			stateSet[p.State] = true
			personBytes += float64(8 + len(p.Name+p.EmailAddress+p.CreditCard+p.City+p.State+p.Extra))
			if len(p.CreditCard) != 19 || !strings.HasSuffix(p.EmailAddress, ".com") || !strings.Contains(p.Name, " ") {
				t.Fatalf("odd person: %+v", *p)
			}
		case KindAuction:
			a := e.Auction
			if want := int64(FirstAuctionID + auctions); a.ID != want {
				t.Fatalf("auction %d has id %d", auctions, a.ID)
			}
			auctions++
			newest := int64(FirstPersonID + people - 1)
			if a.Seller == FirstPersonID+(newest-FirstPersonID)/100*100 {
				hotSeller++
			}
			if a.Seller > newest+idLead || a.Seller < max(FirstPersonID, newest-1000) {
				t.Fatalf("seller %d while the newest person is %d", a.Seller, newest)
			}
			if a.Category < 10 || a.Category > 14 || a.Reserve < a.InitialBid || a.Expires <= a.DateTime {
				t.Fatalf("odd auction: %+v", *a)
			}
			if strings.TrimSpace(a.ItemName) != a.ItemName || len(a.ItemName) >= 20 || len(a.Description) >= 100 {
				t.Fatalf("odd texts: %+v", *a)
			}
			categories += float64(a.Category)
			lives += float64(a.Expires - a.DateTime)
			auctionBytes += float64(48 + len(a.ItemName+a.Description+a.Extra))
		case KindBid:
			b := &e.Bid
			bids++
			newest := int64(FirstAuctionID + auctions - 1)
			if b.Auction == FirstAuctionID+(newest-FirstAuctionID)/100*100 {
				hotAuction++
			}
			if b.Auction > newest+idLead || b.Auction < max(FirstAuctionID, newest-199) {
				t.Fatalf("bid on auction %d while the newest is %d", b.Auction, newest)
			}
			person := int64(people - 1) // index of the newest
			if b.Bidder == 2000+person/100*100+1 {
				hotBidder++
			}
			if b.Bidder > 2000+person+idLead || b.Bidder < 2000+max(0, person-1000) {
				t.Fatalf("bidder %d while %d people have joined", b.Bidder, people)
			}
			if b.Price < 100 || b.Price > 100_000_000 {
				t.Fatalf("price %d", b.Price)
			}
			prices[b.Price] = true
			logPrice += math.Log10(float64(b.Price))
			if parts := strings.Split(b.URL, "/"); len(parts) != 7 || parts[2] != "www.nexmark.com" || !strings.HasPrefix(parts[6], "item.htm?query=1") {
				t.Fatalf("url %q", b.URL)
			}
			if strings.HasPrefix(b.Channel, "channel-") {
				ids++
				if strings.Contains(b.URL, "&channel_id=") {
					withID++
				}
			} else {
				hotChannel++
			}
			bidBytes += float64(32 + len(b.Extra))
		}
	}
	if people*46 != bids || auctions*46 != bids*3 {
		t.Errorf("%d people, %d auctions, %d bids", people, auctions, bids)
	}
	if len(stateSet) != len(states) {
		t.Errorf("states: %v", stateSet)
	}
	for _, tt := range []struct {
		what             string
		got, want, slack float64
	}{
		{"hot auctions", float64(hotAuction) / float64(bids), 0.5 + 0.5/110, 0.01},
		{"hot bidders", float64(hotBidder) / float64(bids), 0.75, 0.01},
		{"hot sellers", float64(hotSeller) / float64(auctions), 0.75, 0.01},
		{"hot channels", float64(hotChannel) / float64(bids), 0.5, 0.01},
		{"channels with an id", float64(withID) / ids, 0.9, 0.01},
		{"mean of log10 price", logPrice / float64(bids), 5, 0.01},
		{"different prices", float64(len(prices)) / float64(bids), 0.677, 0.01},
		{"category", categories / float64(auctions), 12, 0.05},
		{"life of an auction, ms", lives / float64(auctions), 33, 2},
		{"bytes of a person", personBytes / float64(people), 200, 4},
		{"bytes of an auction", auctionBytes / float64(auctions), 500, 5},
		{"bytes of a bid", bidBytes / float64(bids), 100, 2},
	} {
		if math.Abs(tt.got-tt.want) > tt.slack {
			t.Errorf("%s: %.3f, want %.3f", tt.what, tt.got, tt.want)
		}
	}
}

func TestMatchBiddersGivesBidsToPeopleWhoJoined(t *testing.T) {
	a := newGenerator(t, Options{Events: 1000})
	b := newGenerator(t, Options{Events: 1000, MatchBidders: true})
	ac, _ := a.Bids(Split{})
	bc, _ := b.Bids(Split{})
	as, bs := collect(t, ac, nil, 64), collect(t, bc, nil, 64)
	for i := range as {
		as[i].Bidder -= FirstPersonID
	}
	if !slices.Equal(as, bs) {
		t.Error("bids differ in more than the shift of their bidder")
	}
}

// The events of a seed are the same in every release and on every machine:
// stored results of queries depend on it. A change that must alter them makes
// the testdata anew.
func TestEventsAreForever(t *testing.T) {
	g := newGenerator(t, Options{Events: 10000})
	h := fnv.New64a()
	var line []byte
	for _, e := range allEvents(t, g, Split{}, 100) {
		line = AppendEvent(line[:0], &e)
		h.Write(line)
	}
	const want = 0x70ae45a0f9874c6f
	if got := h.Sum64(); got != want {
		t.Errorf("hash of the events is %#x, want %#x", got, uint64(want))
	}
}

func TestBadOptionsAreAllNamed(t *testing.T) {
	_, err := New(Options{Events: -1, Rate: -5, HotAuctionRatio: 1 << 20, AverageBidBytes: 1 << 20})
	if err == nil {
		t.Fatal("accepted")
	}
	for _, name := range []string{"Events", "Rate", "HotAuctionRatio", "AverageBidBytes"} {
		if !strings.Contains(err.Error(), name) {
			t.Errorf("error does not name %s: %v", name, err)
		}
	}
	g := newGenerator(t, Options{Events: 100})
	for _, s := range []Split{{Index: 1, Count: 1}, {Index: -1}, {From: -1}, {From: 9, To: 8}, {To: 101}} {
		if _, err := g.Bids(s); err == nil {
			t.Errorf("split %+v accepted", s)
		}
	}
}

func TestMakingEventsAllocatesNothingPerEvent(t *testing.T) {
	g := newGenerator(t, Options{})
	bids, _ := g.Bids(Split{})
	people, _ := g.Persons(Split{})
	auctions, _ := g.Auctions(Split{})
	events, _ := g.Events(Split{})
	b, p, a, e := make([]Bid, 256), make([]Person, 256), make([]Auction, 256), make([]Event, 256)
	for _, tt := range []struct {
		name string
		next func()
		want float64
	}{
		{"bids", func() { bids.Next(b) }, 0},
		{"people", func() { people.Next(p) }, 0},
		{"auctions", func() { auctions.Next(a) }, 0},
		{"events, 256", func() { events.Next(e) }, 1}, // a slab now and then
	} {
		if got := testing.AllocsPerRun(500, tt.next); got > tt.want {
			t.Errorf("%s: %.2f allocations a batch, want %.2f", tt.name, got, tt.want)
		}
	}
}

func BenchmarkGenerate(b *testing.B) {
	g := newGenerator(b, Options{Rate: 10_000_000})
	bids, _ := g.Bids(Split{})
	people, _ := g.Persons(Split{})
	auctions, _ := g.Auctions(Split{})
	events, _ := g.Events(Split{})
	b.Run("bids", func(b *testing.B) { benchmarkCursor(b, bids) })
	b.Run("events", func(b *testing.B) { benchmarkCursor(b, events) })
	b.Run("people", func(b *testing.B) { benchmarkCursor(b, people) })
	b.Run("auctions", func(b *testing.B) { benchmarkCursor(b, auctions) })
}

func benchmarkCursor[T any](b *testing.B, c *Cursor[T]) {
	b.ReportAllocs()
	dst := make([]T, 256)
	n := 0
	for b.Loop() {
		n += c.Next(dst)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(n), "ns/record")
	b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
}
