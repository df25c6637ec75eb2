package keygroup

import (
	"fmt"
	"testing"
)

func TestRangesAreThoseOfFlink(t *testing.T) {
	for _, tt := range []struct {
		max, parallelism int
		want             string
	}{
		{128, 3, "[0-42 43-85 86-127]"},
		{128, 4, "[0-31 32-63 64-95 96-127]"},
		{10, 4, "[0-2 3-4 5-7 8-9]"},
		{720, 7, "[0-102 103-205 206-308 309-411 412-514 515-617 618-719]"},
	} {
		var got []Range
		for i := range tt.parallelism {
			got = append(got, RangeOf(i, tt.parallelism, tt.max))
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("ranges of (%d, %d) = %v, want %s", tt.max, tt.parallelism, got, tt.want)
		}
	}
}

func TestRangesCoverEveryGroupOnceAndAgreeWithOwner(t *testing.T) {
	for _, groups := range []int{1, 2, 7, 128, 129, 720, 1024, MaxParallelism} {
		for _, p := range []int{1, 2, 3, 5, 7, 64, 127, 128, 1000, MaxParallelism} {
			if p > groups {
				continue
			}
			next, least, most := 0, groups, 0
			for i := range p {
				r := RangeOf(i, p, groups)
				least, most = min(least, r.Len()), max(most, r.Len())
				for g := range r.All() {
					if g != next || Owner(g, p, groups) != i || !r.Contains(g) {
						t.Fatalf("(%d, %d): group %d in range %v of subtask %d, owner %d, expected group %d", groups, p, g, r, i, Owner(g, p, groups), next)
					}
					next++
				}
			}
			if next != groups || most-least > 1 {
				t.Fatalf("(%d, %d): %d groups covered, lengths %d to %d", groups, p, next, least, most)
			}
		}
	}
}

func TestDefaultMaxIsThatOfFlink(t *testing.T) {
	for p, want := range map[int]int{
		1: 128, 64: 128, 85: 128, 86: 256, 100: 256, 128: 256, 170: 256, 171: 256,
		200: 512, 256: 512, 500: 1024, 1000: 2048, 21845: 32768, 32768: 32768,
	} {
		if got := DefaultMax(p); got != want {
			t.Errorf("DefaultMax(%d) = %d, want %d", p, got, want)
		}
	}
}

func TestValidateNamesTheBound(t *testing.T) {
	for _, tt := range []struct {
		parallelism, max int
		valid            bool
	}{
		{1, 1, true}, {32768, 32768, true}, {3, 128, true},
		{0, 128, false}, {1, 0, false}, {129, 128, false}, {1, 32769, false}, {-1, 1, false},
	} {
		if err := Validate(tt.parallelism, tt.max); (err == nil) != tt.valid {
			t.Errorf("Validate(%d, %d) = %v", tt.parallelism, tt.max, err)
		}
	}
}

func TestIntersectOfDisjointRangesIsEmpty(t *testing.T) {
	if r := (Range{0, 9}).Intersect(Range{10, 20}); r.Len() != 0 {
		t.Errorf("got %v", r)
	}
	if r := (Range{0, 12}).Intersect(Range{10, 20}); r != (Range{10, 12}) {
		t.Errorf("got %v", r)
	}
}
