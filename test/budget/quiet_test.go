// SPDX-License-Identifier: MPL-2.0

package budget_test

import (
	"testing"
	"time"

	"github.com/mimird/mimird/test/poll"
)

// maxIdle is the part of one core that a node with nothing to do may use.
const maxIdle = 0.01

// Bar R29: a node with 50 quiet contacts, in session with all of them.
func TestQuietNode(t *testing.T) {
	const contacts = 50
	if !*all {
		return // its figure is a time, which says nothing on a busy machine; the commits are counted in actors
	}
	r := newRig(t, contacts)
	r.callAll()
	const watch = time.Minute
	before := processorTime(t)
	poll.Pass(t.Context(), watch)
	used := (processorTime(t) - before).Seconds() / watch.Seconds()
	show("%6d quiet contacts: %.2f %% of one core", contacts, 100*used)
	if used > maxIdle {
		t.Errorf("%.2f %% of one core for nothing", 100*used)
	}
}
