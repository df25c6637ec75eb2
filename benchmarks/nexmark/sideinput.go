package nexmark

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
)

// sideInputKeys is by what auctions are divided to get the key of a row.
const sideInputKeys = 10000

// WriteSideInput makes the reference's side input of q13: a file of 10000
// lines, each a number from 0 on and the same as its value.
func WriteSideInput(path string) error {
	var b []byte
	for i := range int64(sideInputKeys) {
		b = strconv.AppendInt(b, i, 10)
		b = append(b, ',')
		b = append(strconv.AppendInt(b, i, 10), '\n')
	}
	if err := os.WriteFile(path, b, 0o666); err != nil {
		return fmt.Errorf("write side input: %w", err)
	}
	return nil
}

// sideInput has the values of each key that a remainder can be; of one key
// there may be several.
type sideInput struct {
	values [2*sideInputKeys - 1][]string // by key, from -9999 on
}

func (t *sideInput) of(auction int64) []string {
	return t.values[auction%sideInputKeys+sideInputKeys-1]
}

// readSideInput reads a file of lines "key,value". Keys that no auction can
// have are passed over.
func readSideInput(path string) (*sideInput, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read side input: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	t := &sideInput{}
	lines := bufio.NewScanner(f)
	for n := 1; lines.Scan(); n++ {
		line := strings.TrimSuffix(lines.Text(), "\r")
		if line == "" {
			continue
		}
		head, value, ok := strings.Cut(line, ",")
		key, err := strconv.ParseInt(head, 10, 64)
		if !ok || err != nil {
			return nil, fmt.Errorf("%s: line %d: want a number, a comma and a value", path, n)
		}
		if key > -sideInputKeys && key < sideInputKeys {
			at := &t.values[key+sideInputKeys-1]
			*at = append(*at, value)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}
