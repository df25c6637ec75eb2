package operator

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// windowJSON is a window as JSON has it.
type windowJSON struct{ Start, End bound }

// bound is one end of a window in milliseconds since the epoch.
type bound int64

// The times that RFC 3339 has: the years 0 to 9999.
var (
	boundMin = bound(time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli())
	boundMax = bound(time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC).UnixMilli()) - 1
)

func (b bound) MarshalJSON() ([]byte, error) {
	switch {
	case b == math.MinInt64 || b == math.MaxInt64:
		return []byte("null"), nil
	case b < boundMin || b > boundMax:
		return strconv.AppendInt(nil, int64(b), 10), nil
	}
	return time.UnixMilli(int64(b)).UTC().AppendFormat(make([]byte, 0, 32), `"`+time.RFC3339Nano+`"`), nil
}

// read sets b, to none if there is nothing.
func (b *bound) read(src json.RawMessage, none int64) error {
	if len(src) == 0 || string(src) == "null" {
		*b = bound(none)
		return nil
	}
	if src[0] != '"' {
		return json.Unmarshal(src, (*int64)(b))
	}
	var t time.Time
	if err := json.Unmarshal(src, &t); err != nil {
		return err
	}
	*b = bound(t.UnixMilli())
	return nil
}

// MarshalJSON makes a window {"Start":"2026-01-01T00:00:00Z","End":…}, in UTC.
// An end that is at no time is null, one beyond the year 9999 a number of
// milliseconds.
func (w Window) MarshalJSON() ([]byte, error) {
	return json.Marshal(windowJSON{bound(w.StartMillis), bound(w.EndMillis)})
}

// UnmarshalJSON reads what MarshalJSON has made.
func (w *Window) UnmarshalJSON(src []byte) error {
	if string(src) == "null" {
		return nil
	}
	var raw struct{ Start, End json.RawMessage }
	if err := json.Unmarshal(src, &raw); err != nil {
		return fmt.Errorf("window: %w", err)
	}
	var v windowJSON
	if err := v.Start.read(raw.Start, math.MinInt64); err != nil {
		return fmt.Errorf("start of window: %w", err)
	}
	if err := v.End.read(raw.End, math.MaxInt64); err != nil {
		return fmt.Errorf("end of window: %w", err)
	}
	*w = Window{int64(v.Start), int64(v.End)}
	return nil
}
