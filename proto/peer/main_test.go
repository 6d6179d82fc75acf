// SPDX-License-Identifier: MPL-2.0

package peer_test

import (
	"bufio"
	"bytes"
	_ "embed"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

//go:embed testdata/peer.json
var vectors []byte

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func buffered(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }

// readOne reads a frame that must be alone.
func readOne(tb testing.TB, b []byte) (peer.Frame, error) {
	tb.Helper()
	src := buffered(b)
	f, err := peer.ReadFrame(src, peer.Limits{})
	if err == nil && src.Buffered() > 0 {
		tb.Errorf("%d bytes left over after %s", src.Buffered(), f.FrameType())
	}
	return f, err
}

// addVectors seeds a fuzz target with every hex string of the vectors.
func addVectors(f *testing.F) {
	for _, v := range wiretest.Load(f, vectors) {
		for _, b := range v.HexStrings() {
			f.Add(b)
		}
	}
}
