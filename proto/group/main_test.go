// SPDX-License-Identifier: MPL-2.0

package group_test

import (
	_ "embed"
	"encoding/json"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

//go:embed testdata/group-crypto.json
var vectors []byte

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vector is an entry of the vectors; all but two of its values are hex.
type vector struct {
	tb     testing.TB
	Name   string
	values map[string]any
}

func load(tb testing.TB) []vector {
	tb.Helper()
	var all struct{ Vectors []map[string]any }
	if err := json.Unmarshal(vectors, &all); err != nil {
		tb.Fatal(err)
	}
	list := make([]vector, len(all.Vectors))
	for i, values := range all.Vectors {
		list[i] = vector{tb, values["name"].(string), values}
	}
	return list
}

func named(tb testing.TB, name string) vector {
	tb.Helper()
	for _, v := range load(tb) {
		if v.Name == name {
			return v
		}
	}
	tb.Fatalf("there is no vector %q", name)
	return vector{}
}

func (v vector) hex(key string) []byte {
	v.tb.Helper()
	s, ok := v.values[key].(string)
	if !ok {
		v.tb.Fatalf("vector %q has no %q", v.Name, key)
	}
	return wiretest.MustHex(v.tb, s)
}

func (v vector) key(key string) [32]byte {
	v.tb.Helper()
	return [32]byte(v.hex(key))
}

// bob is whom the invite of the vectors is for: his seed counts up from 0x20.
func bob() identity.PrivateKey {
	var seed [32]byte
	for i := range seed {
		seed[i] = 0x20 + byte(i)
	}
	return identity.NewPrivateKey(seed)
}
