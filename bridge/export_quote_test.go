// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"testing"
	"time"
)

// SetQuoteTime changes, for a test, how long a quotation is looked for.
func SetQuoteTime(t *testing.T, limit time.Duration) {
	t.Helper()
	before := quoteTime
	t.Cleanup(func() { quoteTime = before })
	quoteTime = limit
}
