package millrace_test

import (
	v1 "encoding/json"
	"encoding/json/v2"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/millrace/millrace"
)

func TestJSONOfBadRecordsAndWindowsIsReadable(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC).UnixMilli()
	for _, tt := range []struct {
		value any
		want  string
	}{
		{millrace.BadRecord{Source: "in", Split: "a.json", Position: "line 3", Field: "n", Reason: "not a number", Raw: []byte(`{"n":"é"}`)},
			`{"Source":"in","Split":"a.json","Position":"line 3","Field":"n","Reason":"not a number","Raw":"{\"n\":\"é\"}"}`},
		{millrace.BadRecord{Source: "in", Split: "a", Position: "byte 7", Reason: "torn", Raw: []byte{0xff, 0x00}},
			`{"Source":"in","Split":"a","Position":"byte 7","Reason":"torn","RawBase64":"/wA="}`},
		{millrace.BadRecord{Source: "in", Split: "a", Position: "byte 7", Reason: "torn"},
			`{"Source":"in","Split":"a","Position":"byte 7","Reason":"torn"}`},
		{millrace.Result[string, int64]{Key: "k", Window: millrace.Window{StartMillis: at, EndMillis: at + 250}, Value: 3},
			`{"Key":"k","Window":{"Start":"2026-03-01T12:00:00Z","End":"2026-03-01T12:00:00.25Z"},"Value":3}`},
		{millrace.Window{StartMillis: math.MinInt64, EndMillis: math.MaxInt64}, `{"Start":null,"End":null}`},
		{millrace.Window{StartMillis: -1, EndMillis: 1 << 50}, `{"Start":"1969-12-31T23:59:59.999Z","End":1125899906842624}`},
	} {
		for name, marshal := range map[string]func(any) ([]byte, error){
			"v1": v1.Marshal, "v2": func(v any) ([]byte, error) { return json.Marshal(v) },
		} {
			got, err := marshal(tt.value)
			if err != nil || string(got) != tt.want {
				t.Errorf("%s: got %s, %v\nwant %s", name, got, err, tt.want)
			}
		}
		for name, unmarshal := range map[string]func([]byte, any) error{
			"v1": v1.Unmarshal, "v2": func(b []byte, v any) error { return json.Unmarshal(b, v) },
		} {
			back := reflect.New(reflect.TypeOf(tt.value))
			if err := unmarshal([]byte(tt.want), back.Interface()); err != nil || !reflect.DeepEqual(back.Elem().Interface(), tt.value) {
				t.Errorf("%s: %s read as %+v, %v", name, tt.want, back.Elem(), err)
			}
		}
	}
	for _, s := range []string{`{"Start":"noon","End":null}`, `{"Start":[],"End":1}`, `[]`} {
		if err := v1.Unmarshal([]byte(s), new(millrace.Window)); err == nil {
			t.Errorf("%s was taken for a window", s)
		}
	}
}
