// SPDX-License-Identifier: MPL-2.0

package control

import (
	"strings"
	"testing"
)

// The source that a caller chooses for a file is not taken for an event of Matrix,
// which begins with $, and is the same as for a text.
func TestSourceOf_IsNotTheBridges(t *testing.T) {
	for given, want := range map[string]string{"": "", "$event:example.org": "control:$event:example.org", "relay:!r": "control:relay:!r"} {
		if source, err := sourceOf(given); err != nil || source != want {
			t.Errorf("%q becomes %q, %v", given, source, err)
		}
	}
	if _, err := sourceOf(strings.Repeat("x", maxSource+1)); err == nil {
		t.Error("a long source is taken")
	}
}
