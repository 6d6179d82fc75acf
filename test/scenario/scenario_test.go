// SPDX-License-Identifier: MPL-2.0

package scenario_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/mimird/mimird/actors"
)

// Everybody writes to everybody, over real Yggdrasil cores.
func TestScenarioEverybodyTalksToEverybody(t *testing.T) {
	for _, s := range []struct {
		name string
		top  topology
	}{
		{"2 nodes", chain(2)},
		{"chain of 4", chain(4)},
		{"star of 5", star(5)},
		{"mesh of 4", mesh(4)},
	} {
		t.Run(s.name, func(t *testing.T) {
			w := newWorld(t, s.top)
			const each = 10
			for i := range each {
				for _, a := range w.nodes {
					for _, b := range w.nodes {
						if a != b {
							w.say(a, b, i)
						}
					}
				}
			}
			w.report(s.name, each)
		})
	}
}

func (w *world) say(a, b *node, i int) {
	w.t.Helper()
	_, err := a.Send(w.t.Context(), actors.Outgoing{Account: a.account.ID, Contact: b.account.ID, Payload: fmt.Append(nil, i)})
	if err != nil {
		w.t.Fatal(err)
	}
}

// report waits until everything has arrived, and then counts what should not be.
func (w *world) report(name string, each int) {
	w.t.Helper()
	begin := time.Now()
	lost, doubled, reordered := 0, 0, 0
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a == b {
				continue
			}
			w.await(a, b, each)
			seen := make(map[string]int)
			for i, text := range w.heard(a, b) {
				if seen[text]++; text != fmt.Sprint(i) {
					reordered++
				}
			}
			for i := range each {
				n := seen[fmt.Sprint(i)]
				if n == 0 {
					lost++
				}
				doubled += max(n-1, 0)
			}
		}
	}
	w.t.Logf("scenario %-12s stream %4d messages in %6v lost %d doubled %d reordered %d",
		name, each*len(w.nodes)*(len(w.nodes)-1), time.Since(begin).Round(time.Millisecond), lost, doubled, reordered)
	if lost+doubled+reordered > 0 {
		w.t.Fail()
	}
}

// await waits until a has heard n messages of b, or patience is over.
func (w *world) await(a, b *node, n int) {
	watch := a.WatchEvents()
	defer watch.Close()
	limit := time.NewTimer(patience)
	defer limit.Stop()
	for len(w.heard(a, b)) < n {
		select {
		case <-watch.C():
		case <-limit.C:
			return
		}
	}
}
