// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
)

// edges are numbers at which the length of an encoded one changes.
var edges = []int64{
	0, 1, 23, 24, 255, 256, 65535, 65536, math.MaxUint32, math.MaxUint32 + 1, math.MaxInt64,
	-1, -24, -25, -256, -257, -65536, -65537, math.MinInt32, -math.MaxUint32 - 1, -math.MaxUint32 - 2, math.MinInt64,
}

// fill sets every field of a record, now and then to zero. It knows all kinds that
// records have, so a new field is filled too.
func fill(t *testing.T, r *rand.Rand, v reflect.Value) {
	t.Helper()
	if r.IntN(4) == 0 {
		return
	}
	edge := edges[r.IntN(len(edges))]
	length := []int{0, 1, 23, 24, 255, 256, 70_000}[r.IntN(7)]
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).Name != "_" {
				fill(t, r, v.Field(i))
			}
		}
	case reflect.Int32, reflect.Int64:
		v.SetInt(edge)
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(uint64(edge))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.String:
		v.SetString(strings.Repeat("x", length))
	case reflect.Slice:
		v.SetBytes(make([]byte, length))
	case reflect.Array:
		for i := range v.Len() {
			v.Index(i).SetUint(uint64(r.IntN(256)))
		}
	default:
		t.Fatalf("no values for %s", v.Type())
	}
}

func TestEncode_ByHand_MatchesLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	tried := 0
	for _, rec := range fullRecords() {
		if _, byHand := rec.(selfEncoder); !byHand {
			continue
		}
		tried++
		for range 3000 {
			want, err := codec.enc.Marshal(rec)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := encode(rec); !bytes.Equal(got, want) || err != nil {
				t.Fatalf("%+v\n%x, want\n%x, %v", rec, got, want, err)
			}
			value := reflect.ValueOf(rec).Elem()
			value.SetZero()
			for i := range value.NumField() {
				fill(t, r, value.Field(i))
			}
		}
	}
	if tried != 3 {
		t.Errorf("%d records are written by hand", tried)
	}
}
