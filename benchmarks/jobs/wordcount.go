package jobs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/millrace/millrace"
	"github.com/millrace/millrace/connectors/files"
)

func wordcount() Job {
	return Job{
		Name:  "wordcount",
		Short: "running count of the words of a text",
		Long: `The lines of the files in a directory are split into words at blanks, the words
are counted, and every word sends its new count on to a sink that forgets it.
There is no combining before the exchange. --input names the directory; text of
--bytes is made there if it is empty or does not exist, and stays. Without
--input the text is made in a temporary directory and removed at the end. Events
are words.`,
		Unit:     "words",
		Defaults: Params{Bytes: TextBytes},
		Flags:    []string{"input", "bytes"},
		New: func(p Params) (*Run, error) {
			if p.Rate != 0 {
				return nil, errors.New("wordcount reads files as fast as it can: it takes no rate")
			}
			if p.Events != 0 {
				return nil, errors.New("wordcount reads all of the text: it takes bytes, not events")
			}
			r := &Run{Results: &Tally{}, SourceTally: &Tally{}}
			dir := p.Input
			r.Prepare = func(ctx context.Context, progress func(done, total int64)) (err error) {
				if dir == "" {
					if dir, err = os.MkdirTemp("", "millrace-wordcount-"); err != nil {
						return err
					}
				} else if err := os.MkdirAll(dir, 0o777); err != nil {
					return err
				}
				empty, err := isEmpty(dir)
				if err != nil || !empty {
					return err
				}
				return MakeText(ctx, dir, p.Bytes, progress)
			}
			r.Close = func() error {
				if p.Input == "" && dir != "" {
					return os.RemoveAll(dir)
				}
				return nil
			}
			r.Events = r.Results.Rows // every word has a result
			r.Build = func(j *millrace.Job) {
				j.From("lines", files.Lines(dir)).
					FlatMap(eachWord).
					KeyBy(func(word string) string { return word }).
					Count("count").
					To("discard", discard[millrace.KeyCount[string]]{r.Results})
			}
			r.Source = func(j *millrace.Job, _ int64) {
				j.From("lines", files.Lines(dir)).To("discard", discard[string]{r.SourceTally})
			}
			r.SourceEvents = r.Events
			r.Plain = func(ctx context.Context) error { return plainWordcount(ctx, dir, r.Results) }
			return r, nil
		},
	}
}

// eachWord calls emit for each part of line between blanks that is not empty.
// The words are views into the line.
func eachWord(line string, emit func(string)) {
	for len(line) > 0 {
		i := strings.IndexByte(line, ' ')
		if i < 0 {
			emit(line)
			return
		}
		if i > 0 {
			emit(line[:i])
		}
		line = line[i+1:]
	}
}

// isEmpty reports whether dir holds nothing that a job would read.
func isEmpty(dir string) (bool, error) {
	entries, err := os.ReadDir(dir)
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), ".") {
			return false, nil
		}
	}
	return true, err
}

func plainWordcount(ctx context.Context, dir string, results *Tally) error {
	counts := map[string]*int64{}
	total := int64(0)
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasPrefix(d.Name(), ".") {
			return err
		}
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // only read
		lines := bufio.NewScanner(f)
		lines.Buffer(make([]byte, 256<<10), 16<<20)
		for n := 0; lines.Scan(); n++ {
			if n%4096 == 0 && ctx.Err() != nil {
				return ctx.Err()
			}
			// A scan for the next blank byte by byte: words are short.
			line := lines.Bytes()
			for start, i := 0, 0; i <= len(line); i++ {
				if i < len(line) && line[i] != ' ' {
					continue
				}
				if i > start {
					c := counts[string(line[start:i])]
					if c == nil {
						c = new(int64)
						counts[string(line[start:i])] = c
					}
					*c++
					total++
				}
				start = i + 1
			}
		}
		return lines.Err()
	})
	if err != nil {
		return fmt.Errorf("count words in %s: %w", dir, err)
	}
	results.rows.Add(total)
	return nil
}
