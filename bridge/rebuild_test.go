// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// A room that somebody wants anew is made when what has failed works again, also when
// it has failed before anything was done. One at which the bridge panics holds up no
// message.
func TestRebuild_IsNotForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, d *deliverer, n *logNode, s *shower) {
		bob, carol := conversation(1, 2), conversation(1, 3)
		tries := 0 // one conversation makes a room anew at a time
		d.remake = func(_ context.Context, at *position, job *rebuilding) error {
			if at.Conversation == carol {
				panic("the test says no")
			}
			if tries++; tries < 3 {
				return errTestFailure
			}
			return nil
		}
		attach(t, d, 1)
		d.rebuild(bob, 7)
		d.rebuild(carol, 0)
		if err := d.changes(n.add(carol, 1)); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if tries != 3 {
			t.Errorf("the room was tried %d times, want 3", tries)
		}
		if !slices.Equal(s.of(carol), count(1)) {
			t.Errorf("shown %v of the other", s.of(carol))
		}
	})
}
