// SPDX-License-Identifier: MPL-2.0

package deliver

import (
	"context"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/test/virtual"
)

// A job of Redo that panics is dropped: it holds up neither the jobs behind it nor a
// message.
func TestRedo_Panic_DroppedAndOthersRun(t *testing.T) {
	inBubble(t, func(t *testing.T, d *Deliverer, n *logNode, s *shower) {
		bob, carol := conversation(1, 2), conversation(1, 3)
		attach(t, d, 1)
		runs := make(map[string]int) // one conversation runs a job at a time
		for name, c := range map[string]store.Conversation{"bob": bob, "carol": carol} {
			panics := func(context.Context, *Position) error { runs[name+" panics"]++; panic("the test says no") }
			fails := func(context.Context, *Position) error {
				if runs[name+" fails"]++; runs[name+" fails"] < 3 {
					return errTestFailure
				}
				return nil
			}
			if !d.Redo(c, panics) || !d.Redo(c, fails) {
				t.Fatal("a job is refused")
			}
			if err := d.changes(n.add(c, 1)); err != nil {
				t.Fatal(err)
			}
			virtual.Sleep(time.Hour)
			synctest.Wait()
			if runs[name+" panics"] != 1 || runs[name+" fails"] != 3 {
				t.Errorf("%s: runs %v", name, runs)
			}
			if !slices.Equal(s.of(c), count(1)) {
				t.Errorf("%s: shown %v", name, s.of(c))
			}
		}
	})
}

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
