// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"errors"
	"io"
	"math"
	"testing"
)

// Every length there is has its lies, and a phone refuses the absurd ones as soon as
// it has read them.
func TestLengthLies(t *testing.T) {
	own, receiver := IdentityOf("own").Key(), IdentityOf("receiver").Key()
	lies := LengthLies(own, receiver)
	seen := make(map[Type]int)
	for _, lie := range lies {
		seen[lie.Type]++
		r := bytes.NewReader(lie.Bytes)
		f, err := readAny(r, lie.Data)
		switch {
		case lie.Absurd && !errors.Is(err, errProtocol):
			t.Errorf("%s: read %v, %v", lie.Name, f, err)
		case !lie.Absurd && !errors.Is(err, io.ErrUnexpectedEOF):
			t.Errorf("%s: read %v, %v", lie.Name, f, err)
		}
		if r.Len() != 0 {
			t.Errorf("%s: %d bytes are left", lie.Name, r.Len())
		}
		if lie.Length < -1 || lie.Length == math.MaxInt64 && !lie.Absurd && lie.Type != 7777 {
			t.Errorf("%s: length %d", lie.Name, lie.Length)
		}
	}
	for _, typ := range append(Types(), typeData) {
		fields := 0
		for _, fd := range layouts[typ] {
			if fd.hasBytes() {
				fields++
			}
		}
		if seen[typ] < 4*fields {
			t.Errorf("%v: %d lies about %d lengths", typ, seen[typ], fields)
		}
	}
}

// A field that a test misspells is found at once.
func TestMisspelledFieldsPanic(t *testing.T) {
	for name, f := range map[string]Frame{
		"a name":  {Type: TypeOK, Fields: Fields{"guid": 1}},
		"numbers": {Type: TypeOK, Fields: Fields{"id": "1"}},
		"bytes":   {Type: TypeChallenge, Fields: Fields{"challenge": 1}},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: no panic", name)
				}
			}()
			f.AppendTo(nil)
		}()
	}
}
