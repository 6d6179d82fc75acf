// SPDX-License-Identifier: MPL-2.0

package fixed_test

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/json"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator/fixed"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

//go:embed testdata/mediator-gen2-fixed.json
var vectors []byte

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func buffered(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

type vector struct {
	Name   string
	From   string
	Hex    string
	Fields map[string]any
}

func (v vector) bytes(tb testing.TB) []byte { return wiretest.MustHex(tb, v.Hex) }

func load(tb testing.TB) map[string]vector {
	tb.Helper()
	var all struct{ Vectors []vector }
	if err := json.Unmarshal(vectors, &all); err != nil {
		tb.Fatal(err)
	}
	byName := make(map[string]vector)
	for _, v := range all.Vectors {
		byName[v.Name] = v
	}
	if len(byName) != len(all.Vectors) {
		tb.Fatal("two vectors of one name")
	}
	return byName
}

// seeded is the identity whose seed counts up from a byte: alice's from 0, bob's
// from 0x20, the mediator's from 0xa0.
func seeded(first byte) identity.PrivateKey { return identity.NewPrivateKey(counting(first)) }

func counting(first byte) (b [32]byte) {
	for i := range b {
		b[i] = first + byte(i)
	}
	return b
}

func alice() identity.PrivateKey { return seeded(0) }

func bob() identity.PublicKey { return seeded(0x20).Public() }

const chat fixed.ChatID = 0x1122334455667788
