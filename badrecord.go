package millrace

import (
	"encoding/json"
	"fmt"
	"unicode/utf8"
)

// badRecordJSON is a BadRecord as JSON has it.
type badRecordJSON struct {
	Source, Split, Position string
	Field                   string `json:",omitempty"`
	Reason                  string
	Raw                     *string `json:",omitempty"`
	RawBase64               []byte  `json:",omitempty"`
}

// MarshalJSON makes an object with the fields of b. Raw is text if it is valid
// UTF-8; otherwise the object has RawBase64 in its place.
func (b BadRecord) MarshalJSON() ([]byte, error) {
	v := badRecordJSON{Source: b.Source, Split: b.Split, Position: b.Position, Field: b.Field, Reason: b.Reason}
	switch {
	case len(b.Raw) == 0:
	case utf8.Valid(b.Raw):
		text := string(b.Raw)
		v.Raw = &text
	default:
		v.RawBase64 = b.Raw
	}
	return json.Marshal(v)
}

// UnmarshalJSON reads what MarshalJSON has made.
func (b *BadRecord) UnmarshalJSON(src []byte) error {
	var v badRecordJSON
	if err := json.Unmarshal(src, &v); err != nil {
		return fmt.Errorf("bad record: %w", err)
	}
	*b = BadRecord{Source: v.Source, Split: v.Split, Position: v.Position, Field: v.Field, Reason: v.Reason, Raw: v.RawBase64}
	if v.Raw != nil {
		b.Raw = []byte(*v.Raw)
	}
	return nil
}
