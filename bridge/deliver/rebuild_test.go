// SPDX-License-Identifier: MPL-2.0

package deliver

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/test/virtual"
)

// A job that remakes a room is repeated until it succeeds. One that panics is dropped and
// delays no message.
func TestRebuild_IsNotForgotten(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		bob, carol := conversation(1, 2), conversation(1, 3)
		tries := 0 // one conversation makes a room anew at a time
		attach(t, d, 1)
		d.Rebuild(bob, func(context.Context, *Position) error {
			if tries++; tries < 3 {
				return errTestFailure
			}
			return nil
		})
		d.Rebuild(carol, func(context.Context, *Position) error { panic("the test says no") })
		if err := d.changes(n.add(carol, 1)); err != nil {
			t.Fatal(err)
		}
		virtual.Sleep(time.Hour)
		synctest.Wait()
		if tries != 3 {
			t.Errorf("the room was tried %d times, want 3", tries)
		}
		if !slices.Equal(s.of(carol), count(1)) {
			t.Errorf("shown %v of the other", s.of(carol))
		}
	})
}
