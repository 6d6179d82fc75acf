// SPDX-License-Identifier: MPL-2.0

package identity_test

import (
	"bytes"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// seed returns 32 equal bytes.
func seed(b byte) [identity.SeedSize]byte {
	return [identity.SeedSize]byte(bytes.Repeat([]byte{b}, identity.SeedSize))
}

func key(b byte) identity.PrivateKey { return identity.NewPrivateKey(seed(b)) }

// permit is a guard that refuses nothing.
func permit([32]byte) bool { return false }
