// SPDX-License-Identifier: MPL-2.0

package wire_test

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

//go:embed testdata/tlv.json
var tlvVectors []byte

// Bar S26
func TestFieldsMatchTheVectors(t *testing.T) {
	checks := make(map[string]func(*testing.T, wiretest.Vector))
	for _, v := range wiretest.Load(t, tlvVectors) {
		switch {
		case strings.HasPrefix(v.Name, "varint-"):
			checks[v.Name] = checkVarintVector
		case strings.HasPrefix(v.Name, "tlv-"):
			checks[v.Name] = checkFieldVector
		}
	}
	wiretest.Run(t, tlvVectors, checks)
}

func checkVarintVector(t *testing.T, v wiretest.Vector) {
	if v.Inputs["value"] != nil {
		value := uint32(v.Int("value"))
		if got := wire.AppendVarint(nil, value); !bytes.Equal(got, v.OutputHex()) {
			t.Errorf("encoded as %x", got)
		}
		if got, size, err := wire.Varint(v.OutputHex()); got != value || size != len(v.OutputHex()) || err != nil {
			t.Errorf("decoded %d of %d bytes, error %v", got, size, err)
		}
		return
	}
	got, size, err := wire.Varint(v.Hex("bytes"))
	if string(v.Output) == `"error"` {
		if wire.ViolationCode(err) == "" {
			t.Errorf("decoded %d, error %v", got, err)
		}
		return
	}
	var want uint32
	v.DecodeOutput(&want)
	if got != want || size != len(v.Hex("bytes")) || err != nil {
		t.Errorf("decoded %d of %d bytes, error %v", got, size, err)
	}
}

func checkFieldVector(t *testing.T, v wiretest.Vector) {
	if v.Inputs["tag"] != nil {
		tag, value := byte(v.Int("tag")), []byte{}
		if v.Inputs["value"] != nil {
			value = v.Hex("value")
		}
		if got := wire.AppendField(nil, tag, value); !bytes.Equal(got, v.OutputHex()) {
			t.Errorf("encoded as %x", got)
		}
		fields, err := wire.ParseFields(v.OutputHex())
		if err != nil {
			t.Fatal(err)
		}
		if got, ok := fields.Last(tag); !ok || !bytes.Equal(got, value) {
			t.Errorf("decoded %x", got)
		}
		return
	}
	fields, err := wire.ParseFields(v.Hex("bytes"))
	if string(v.Output) == `"error"` {
		if wire.ViolationCode(err) == "" {
			t.Errorf("no violation: %v", err)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	want := make(map[string]string)
	v.DecodeOutput(&want)
	got := make(map[string]string)
	for tag := range fields.All() {
		value, _ := fields.Last(tag)
		got[hex.EncodeToString([]byte{tag})] = hex.EncodeToString(value)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestFieldsGetters(t *testing.T) {
	b := wire.AppendFieldUint8(nil, 1, 7)
	b = wire.AppendFieldUint32(b, 2, math.MaxUint32)
	b = wire.AppendFieldUint64(b, 3, math.MaxUint64)
	b = wire.AppendField(b, 4, []byte("abc"))
	b = wire.AppendField(b, 5, []byte("one"))
	b = wire.AppendField(b, 5, []byte("two"))
	fields, err := wire.ParseFields(b)
	if err != nil {
		t.Fatal(err)
	}
	var fixed [3]byte
	fields.Fixed(4, "d", fixed[:])
	if fields.Uint8(1, "a") != 7 || fields.Uint32(2, "b") != math.MaxUint32 || fields.Uint64(3, "c") != math.MaxUint64 || string(fixed[:]) != "abc" {
		t.Error("values differ")
	}
	if first, ok := fields.First(5); string(first) != "one" || !ok {
		t.Errorf("first %q", first)
	}
	if last, ok := fields.Last(5); string(last) != "two" || !ok {
		t.Errorf("last %q", last)
	}
	if _, ok := fields.First(9); ok {
		t.Error("an absent field is there")
	}
	for range fields.All() {
		break // a walk may be left
	}
	if fields.Err() != nil {
		t.Error(fields.Err())
	}
}

func TestFieldsKeepTheirFirstError(t *testing.T) {
	for _, test := range []struct {
		name string
		get  func(*wire.Fields)
		code string
	}{
		{"absent", func(f *wire.Fields) { f.Uint8(9, "x") }, wire.CodeMissing},
		{"a byte of two bytes", func(f *wire.Fields) { f.Uint8(1, "x") }, wire.CodeLength},
		{"four bytes of two", func(f *wire.Fields) { f.Uint32(1, "x") }, wire.CodeLength},
		{"eight bytes of two", func(f *wire.Fields) { f.Uint64(1, "x") }, wire.CodeLength},
		{"a key of two bytes", func(f *wire.Fields) { f.Fixed(1, "x", make([]byte, 32)) }, wire.CodeLength},
	} {
		t.Run(test.name, func(t *testing.T) {
			fields, err := wire.ParseFields(wire.AppendFieldUint8(wire.AppendField(nil, 1, []byte{1, 2}), 2, 7))
			if err != nil {
				t.Fatal(err)
			}
			test.get(fields)
			first := fields.Err()
			if wire.ViolationCode(first) != test.code {
				t.Errorf("error %v", first)
			}
			if fields.Uint8(2, "x") != 0 || !errors.Is(fields.Err(), first) {
				t.Error("a value after an error")
			}
		})
	}
}

func TestAppendVarintRefusesWhatDoesNotFit(t *testing.T) {
	wire.AppendVarint(nil, wire.MaxVarint)
	defer func() {
		if recover() == nil {
			t.Error("no panic")
		}
	}()
	wire.AppendVarint(nil, wire.MaxVarint+1)
}

// Bar S01
func TestFieldsOfAMillionEmptyTagsCostNoMemory(t *testing.T) {
	b := make([]byte, 2<<20)
	wiretest.CheckAllocation(t, 0, func() {
		fields, err := wire.ParseFields(b)
		if err != nil {
			t.Fatal(err)
		}
		fields.Last(0)
	})
}

// Bar S01
func FuzzTLV(f *testing.F) {
	for _, v := range wiretest.Load(f, tlvVectors) {
		for _, b := range v.HexStrings() {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		wiretest.CheckAllocationSampled(t, b, func() {
			if fields, err := wire.ParseFields(b); err == nil {
				fields.Fixed(1, "a", make([]byte, 32))
				_ = fields.Err()
			}
		})
		if value, size, err := wire.Varint(b); err == nil {
			again, shortest, err := wire.Varint(wire.AppendVarint(nil, value))
			if again != value || shortest > size || err != nil {
				t.Errorf("varint %d of %d bytes reads as %d of %d, error %v", value, size, again, shortest, err)
			}
		}
		fields, err := wire.ParseFields(b)
		if err != nil {
			if wire.ViolationCode(err) == "" {
				t.Errorf("no violation: %v", err)
			}
			return
		}
		var again []byte
		last := make(map[byte][]byte)
		for tag, value := range fields.All() {
			again = wire.AppendField(again, tag, value)
			last[tag] = value
		}
		// Ours is the shortest form of the same fields.
		second, err := wire.ParseFields(again)
		if err != nil || len(again) > len(b) {
			t.Fatalf("encoded again: %d bytes, error %v", len(again), err)
		}
		for tag, value := range second.All() {
			if got, _ := second.Last(tag); !bytes.Equal(got, last[tag]) {
				t.Errorf("tag %d: %x, want %x", tag, got, value)
			}
		}
	})
}

func TestFields_Records(t *testing.T) {
	for name, test := range map[string]struct {
		payload []byte
		want    []string
	}{
		"none":           {nil, nil},
		"without first":  {[]byte{2, 1, 'x'}, nil},
		"one":            {[]byte{1, 1, 'a'}, []string{"\x01\x01a"}},
		"two, preceded":  {[]byte{9, 0, 1, 1, 'a', 2, 1, 'b', 1, 0}, []string{"\x01\x01a\x02\x01b", "\x01\x00"}},
		"tag in a value": {[]byte{1, 3, 1, 1, 1}, []string{"\x01\x03\x01\x01\x01"}},
	} {
		fields, err := wire.ParseFields(test.payload)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for record := range fields.Records(1) {
			var b []byte
			for tag, value := range record.All() {
				b = wire.AppendField(b, tag, value)
			}
			got = append(got, string(b))
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %q", name, got)
		}
		for range fields.Records(1) {
			break // a reader may stop at any record
		}
	}
}
