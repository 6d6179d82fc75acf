// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		for _, end := range atExit {
			end()
		}
		os.Exit(code)
	}))
}

// atExit ends what all tests share.
var atExit []func()
