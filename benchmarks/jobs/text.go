package jobs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// The text that word count reads.
const (
	textFiles      = 8
	textVocabulary = 100_000
	textLineWords  = 10
	// TextBytes is the size of the text by default.
	TextBytes = 1_073_742_170
)

// MakeText writes files of text into the directory dir, which must exist: at
// least bytes in all, in whole lines of ten words. The words are of 3 to 10
// letters out of a vocabulary of 100,000, the i-th of which is drawn with a
// probability in proportion to 1/i. The same bytes make the same text.
//
// A file that was not finished does not stay behind.
func MakeText(ctx context.Context, dir string, bytes int64, progress func(done, total int64)) error {
	words := vocabulary()
	draw := newAlias(len(words))
	done := int64(0)
	for f := range textFiles {
		size := bytes*int64(f+1)/textFiles - bytes*int64(f)/textFiles
		name := filepath.Join(dir, fmt.Sprintf("part-%d.txt", f))
		err := writeText(ctx, name, size, words, draw, rand.New(rand.NewPCG(uint64(f), 0x7e47)), func(n int64) {
			done += n
			progress(done, bytes)
		})
		if err != nil {
			return fmt.Errorf("make text %s: %w", name, err)
		}
	}
	return nil
}

func writeText(ctx context.Context, name string, size int64, words []string, draw *alias, rng *rand.Rand, wrote func(int64)) (err error) {
	part := filepath.Join(filepath.Dir(name), "."+filepath.Base(name)+".part")
	file, err := os.Create(part)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close(), os.Remove(part))
		}
	}()
	w := bufio.NewWriterSize(file, 1<<20)
	line := make([]byte, 0, 256)
	for lines, n, told := 0, int64(0), int64(0); n < size; lines++ {
		if lines%(1<<14) == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			wrote(n - told)
			told = n
		}
		line = line[:0]
		for range textLineWords {
			line = append(line, words[draw.next(rng)]...)
			line = append(line, ' ')
		}
		line[len(line)-1] = '\n'
		n += int64(len(line))
		if _, err := w.Write(line); err != nil {
			return err
		}
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Rename(part, name)
}

// vocabulary makes the words, no two of them the same.
func vocabulary() []string {
	rng := rand.New(rand.NewPCG(0, 0x7e47))
	seen := make(map[string]bool, textVocabulary)
	words := make([]string, 0, textVocabulary)
	var letters [10]byte
	for len(words) < textVocabulary {
		w := letters[:3+rng.IntN(8)]
		for i := range w {
			w[i] = 'a' + byte(rng.IntN(26))
		}
		if !seen[string(w)] {
			words = append(words, string(w))
			seen[string(w)] = true
		}
	}
	return words
}

// alias draws numbers with probabilities in proportion to 1, 1/2, 1/3, … in
// constant time each, by Walker's method.
type alias struct {
	keep []uint32 // of 2^32: the chance to stay at an index drawn evenly
	to   []uint32 // where to go otherwise
}

func newAlias(n int) *alias {
	sum := 0.0
	for i := n; i >= 1; i-- {
		sum += 1 / float64(i)
	}
	a := &alias{keep: make([]uint32, n), to: make([]uint32, n)}
	weight := make([]float64, n) // 1 on average
	var small, large []int
	for i := range weight {
		weight[i] = float64(n) / (float64(i+1) * sum)
		if weight[i] < 1 {
			small = append(small, i)
		} else {
			large = append(large, i)
		}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		a.keep[s], a.to[s] = uint32(weight[s]*(1<<32-1)), uint32(l)
		if weight[l] -= 1 - weight[s]; weight[l] < 1 {
			large = large[:len(large)-1]
			small = append(small, l)
		}
	}
	for _, i := range append(small, large...) { // 1 but for rounding
		a.keep[i], a.to[i] = 1<<32-1, uint32(i)
	}
	return a
}

func (a *alias) next(rng *rand.Rand) uint32 {
	x := rng.Uint64()
	i := uint32(x >> 32 * uint64(len(a.keep)) >> 32)
	if uint32(x) <= a.keep[i] {
		return i
	}
	return a.to[i]
}
