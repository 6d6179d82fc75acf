// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"testing"

	"github.com/mimird/mimird/proto/identity"
)

// The phone computes for itself what could be a key, and agrees with proto.
func TestPlainChallenge_IsNoPoint(t *testing.T) {
	points := 0
	for range 500 {
		b := drawChallenge()
		if isPoint(b) != identity.IsCurvePoint([32]byte(b)) {
			t.Fatalf("%x", b)
		}
		if isPoint(b) {
			points++
		}
		if identity.IsCurvePoint([32]byte(PlainChallenge())) {
			t.Fatal("a plain challenge could be a key")
		}
	}
	if points < 150 || points > 350 {
		t.Errorf("%d points in 500", points)
	}
}
