// SPDX-License-Identifier: MPL-2.0

package tracker_test

import (
	"bufio"
	"bytes"
	_ "embed"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

//go:embed testdata/tracker.json
var vectors []byte

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func buffered(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

func privateKey(b byte) identity.PrivateKey {
	return identity.NewPrivateKey([32]byte(bytes.Repeat([]byte{b}, 32)))
}

func owner() identity.PrivateKey { return privateKey(1) }

// node returns one of many node keys.
func node(n int) identity.NodeKey { return identity.NodeKey{0: byte(n), 1: byte(n >> 8), 31: 1} }

func mustSplit(tb testing.TB, datagram []byte) tracker.Reply {
	tb.Helper()
	reply, ok := tracker.SplitReply(datagram)
	if !ok {
		tb.Fatalf("no answer: %x", datagram)
	}
	return reply
}

// addVectors seeds a fuzz target with every hex string of the vectors.
func addVectors(f *testing.F) {
	for _, v := range wiretest.Load(f, vectors) {
		for _, b := range v.HexStrings() {
			f.Add(b)
		}
	}
}
