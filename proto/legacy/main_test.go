// SPDX-License-Identifier: MPL-2.0

package legacy_test

import (
	"bufio"
	"bytes"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/proto/identity"
)

//go:embed testdata/peer-frames.json
var frameVectors []byte

//go:embed testdata/peer-messages.json
var messageVectors []byte

//go:embed testdata/guid.json
var guidVectors []byte

//go:embed testdata/predictable-challenge.json
var challengeVectors []byte

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// vector is an entry of the vectors of frames and messages.
type vector struct {
	Name   string
	Hex    string
	Fields map[string]any
}

func (v vector) bytes(tb testing.TB) []byte { return unhex(tb, v.Hex) }

func (v vector) text(key string) string {
	s, _ := v.Fields[key].(string)
	return s
}

// int reads a field that is a number, or a number in a text.
func (v vector) int(tb testing.TB, key string) int64 {
	tb.Helper()
	s := v.text(key)
	if n, ok := v.Fields[key].(json.Number); ok {
		s = n.String()
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		tb.Fatalf("%s: %v", key, err)
	}
	return n
}

func load(tb testing.TB, file []byte) []vector {
	tb.Helper()
	var all struct{ Vectors []vector }
	d := json.NewDecoder(bytes.NewReader(file))
	d.UseNumber()
	if err := d.Decode(&all); err != nil || len(all.Vectors) == 0 {
		tb.Fatalf("%d vectors, error %v", len(all.Vectors), err)
	}
	return all.Vectors
}

func unhex(tb testing.TB, s string) []byte {
	tb.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

func buffered(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

// person returns the identity of the vectors whose seed begins with that byte:
// alice 0x00, bob 0x20.
func person(first byte) identity.PrivateKey {
	var seed [32]byte
	for i := range seed {
		seed[i] = first + byte(i)
	}
	return identity.NewPrivateKey(seed)
}

func alice() identity.PrivateKey { return person(0x00) }
func bob() identity.PrivateKey   { return person(0x20) }
