// SPDX-License-Identifier: MPL-2.0

package group_test

import (
	"testing"
)

func TestGroup_TextsBothWays(t *testing.T) {
	inBubble(t, func(r *rig) {
		r.say(0, 0, "one")
		r.say(1, 1, "elsewhere")
		r.has(0, 0, 0, "one")
		r.write(0, 0, 0, "two")
		r.has(0, 0, 0, "one", "two")
		r.has(1, 0, 0, "one", "two")
		r.has(1, 1, 1, "elsewhere")
		r.has(1, 1, 0)
		r.checked()
	})
}
