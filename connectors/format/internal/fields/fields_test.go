package fields

import (
	"strings"
	"testing"
	"time"
)

type celsius float64

type inner struct {
	City string `csv:"city,large"`
	skip int
}

type reading struct {
	OK bool
	N8 int8 `csv:"n8"`
	inner2
	inner
	T     celsius
	Name  *string
	Raw   []byte
	At    time.Time
	Took  time.Duration
	Gone  int `csv:"-"`
	Count uint
}

type inner2 struct{ Deep int32 }

func TestFieldsAreFoundInOrderWithTheirNamesAndKinds(t *testing.T) {
	fs, err := Of[reading]("csv")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, f := range fs {
		got = append(got, f.Name)
	}
	if s := strings.Join(got, " "); s != "OK n8 Deep city T Name Raw At Took Count" {
		t.Errorf("fields are %s", s)
	}
	if fs[3].Tag != "large" || !fs[5].Optional || fs[5].Kind != String || fs[4].Kind != Float64 || fs[8].Kind != Duration {
		t.Errorf("got %+v", fs)
	}
}

func TestTypesThatCannotBeColumnsAreErrors(t *testing.T) {
	for want, f := range map[string]func() error{
		"csv records must be structs, int is not":         func() error { _, err := Of[int]("csv"); return err },
		"field M: type map[string]int cannot be a column": func() error { _, err := Of[struct{ M map[string]int }]("csv"); return err },
		"fields A and B are both column \"x\"": func() error {
			_, err := Of[struct {
				A, B int `csv:"x"`
			}]("csv")
			return err
		},
		"has no exported fields": func() error { _, err := Of[struct{ a int }]("csv"); return err },
	} {
		if err := f(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestCellsReachTheSameFieldsAsReflection(t *testing.T) {
	fs, err := Of[reading]("csv")
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]reading, 5)
	for i := range rows {
		for j := range fs {
			f := &fs[j]
			c := Column(rows, f)
			same := false
			switch {
			case f.Optional:
				same = At[*string](c, i) == atPlain[*string](rows, f, i) && At[*string](Cell(&rows[i], f), 0) == atPlain[*string](rows, f, i)
			case f.Kind == Bool:
				same = At[bool](c, i) == atPlain[bool](rows, f, i)
			case f.Kind == Int8:
				same = At[int8](c, i) == atPlain[int8](rows, f, i)
			case f.Kind == Int32:
				same = At[int32](c, i) == atPlain[int32](rows, f, i)
			case f.Kind == Uint64:
				same = At[uint](c, i) == atPlain[uint](rows, f, i)
			case f.Kind == Float64:
				same = At[float64](c, i) == atPlain[float64](rows, f, i)
			case f.Kind == String:
				same = At[string](c, i) == atPlain[string](rows, f, i)
			case f.Kind == Bytes:
				same = At[[]byte](c, i) == atPlain[[]byte](rows, f, i)
			case f.Kind == Time:
				same = At[time.Time](c, i) == atPlain[time.Time](rows, f, i)
			case f.Kind == Duration:
				same = At[time.Duration](c, i) == atPlain[time.Duration](rows, f, i)
			}
			if !same {
				t.Errorf("row %d field %s: cell is elsewhere", i, f.Name)
			}
		}
	}
	for _, s := range []string{"", "x", "long enough to matter"} {
		if View([]byte(s)) != viewPlain([]byte(s)) {
			t.Errorf("view of %q differs", s)
		}
	}
}
