// SPDX-License-Identifier: MPL-2.0

package postgres

import (
	"reflect"
	"testing"
)

func TestConvert(t *testing.T) {
	for _, c := range []struct {
		value any
		kind  string
		want  any
	}{
		{nil, "text", nil},
		{int64(1), "boolean", true},
		{int64(0), "boolean", false},
		{int64(1), "bigint", int64(1)},
		{2.5, "double precision", 2.5},
		{"a", "text", "a"},
		{[]byte(`{"a":1}`), "jsonb", `{"a":1}`},
		{"key", "bytea", []byte("key")},
		{[]byte{0, 1}, "bytea", []byte{0, 1}},
	} {
		if got, err := convert(c.value, c.kind); err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v for %s became %v, %v, want %v", c.value, c.kind, got, err, c.want)
		}
	}
	for _, c := range []struct {
		value any
		kind  string
	}{{"a\x00b", "text"}, {[]byte("\x00"), "jsonb"}, {"{}", "ARRAY"}, {struct{}{}, "text"}} {
		if got, err := convert(c.value, c.kind); err == nil {
			t.Errorf("%v for %s became %v", c.value, c.kind, got)
		}
	}
}
