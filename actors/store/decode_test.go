// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/fxamacker/cbor/v2"
)

// byHand lists the records that are read by hand.
func byHand() []selfDecoder { return []selfDecoder{&Message{}, &Event{}, &messageRef{}} }

// sameAsLibrary compares what is read by hand, if anything, with the library.
func sameAsLibrary(t *testing.T, raw []byte) {
	t.Helper()
	for _, rec := range byHand() {
		if !rec.readFrom(raw) {
			if !reflect.ValueOf(rec).Elem().IsZero() {
				t.Errorf("%.100x was not read, and changed %+v", raw, rec)
			}
			continue
		}
		want := reflect.New(reflect.TypeOf(rec).Elem()).Interface()
		if err := codec.dec.Unmarshal(raw, want); err != nil {
			t.Errorf("%.100x was read as %.300v, the library says %v", raw, rec, err)
		}
		again, err := codec.enc.Marshal(want)
		if got, gotErr := codec.enc.Marshal(rec); !bytes.Equal(got, again) || err != nil || gotErr != nil {
			t.Errorf("%.100x was read as %.300v, want %.300v, %v", raw, rec, want, errors.Join(err, gotErr))
		}
	}
}

func TestDecode_ByHand_MatchesLibrary(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for _, rec := range byHand() {
		value := reflect.ValueOf(rec).Elem()
		for n := range 1000 {
			value.SetZero()
			for i := range value.NumField() {
				fill(t, r, value.Field(i))
			}
			raw, err := codec.enc.Marshal(rec)
			if err != nil {
				t.Fatal(err)
			}
			sameAsLibrary(t, raw)
			// The test makes conversations of kinds that do not exist.
			fresh := reflect.New(value.Type()).Interface()
			if valid := codec.dec.Unmarshal(raw, fresh) == nil; valid != fresh.(selfDecoder).readFrom(raw) {
				t.Fatalf("%T %.100x is valid: %t, and it is another matter by hand", rec, raw, valid)
			}
			if n%20 == 0 && len(raw) < 200 { // damage at every place of a short record
				for at := range raw {
					damaged := append([]byte(nil), raw...)
					damaged[at] ^= byte(1 << r.IntN(8))
					sameAsLibrary(t, damaged)
					sameAsLibrary(t, raw[:at])
				}
			}
		}
	}
}

// A record of a later version is read by the library, which passes over new fields.
func TestDecode_UnknownField_IsRead(t *testing.T) {
	for _, rec := range byHand() {
		raw, err := encode(map[uint64]any{2: 7, 99: "new"})
		if err != nil {
			t.Fatal(err)
		}
		if rec.readFrom(raw) {
			t.Errorf("%T: a field that it does not know was read by hand", rec)
		}
	}
	var ref messageRef
	raw, err := encode(map[uint64]any{1: 7, 99: cbor.RawMessage{0xf6}})
	if err == nil {
		err = decode(raw, &ref)
	}
	if err != nil || ref.Order != 7 {
		t.Errorf("%+v, %v", ref, err)
	}
}

func FuzzDecodeByHand(f *testing.F) {
	for _, rec := range []any{
		Message{ID: MessageID{GUID: -1}, Payload: []byte("x"), Held: true}, Event{Kind: MessageReceived}, messageRef{Order: 1, First: []byte{1}},
	} {
		raw, err := codec.enc.Marshal(rec)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) { sameAsLibrary(t, raw) })
}
