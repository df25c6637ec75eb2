package fields

import "reflect"

// atPlain is [At] of [Column] written without package unsafe, to test it by.
func atPlain[V, T any](rows []T, f *Field, i int) *V {
	p := reflect.ValueOf(&rows[i]).Elem().FieldByIndex(f.index).Addr()
	return p.Convert(reflect.TypeFor[*V]()).Interface().(*V)
}

// viewPlain is [View] by a copy.
func viewPlain(b []byte) string { return string(b) }
