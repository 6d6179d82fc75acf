// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sync"

	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/test/crash"
)

// settle returns when everything has arrived and nothing is left to do.
func (w *world) settle() {
	w.t.Helper()
	var left string
	if !poll(nil, func() bool { left = w.left(); return left == "" }) {
		w.t.Fatalf("%safter %v there is still %s\n%s", w.note, patience, left, w.verdict(directions...))
	}
}

// left says what there is to be done, "" when nothing is.
func (w *world) left() string {
	for _, c := range w.talks {
		for _, d := range directions {
			if n := c.underWay(d); n > 0 {
				return fmt.Sprintf("%d texts under way, %s, %s", n, c.name(), d)
			}
		}
		if n, err := c.waiting(w.t.Context()); n > 0 || err != nil {
			return fmt.Sprintf("%d texts of %s not acknowledged (%v)", n, c.name(), err)
		}
	}
	status, err := w.victim.Client.Status(w.t.Context())
	if err != nil {
		return err.Error()
	}
	var matrix bridge.Status
	if err := json.Unmarshal(status.Parts["matrix"], &matrix); err != nil {
		return err.Error()
	}
	waiting := status.Accounts[0].Waiting - w.kept
	if n := waiting + matrix.Transactions + matrix.Conversations; n > 0 {
		return fmt.Sprintf("work for the node: %d texts, %d transactions, %d conversations",
			waiting, matrix.Transactions, matrix.Conversations)
	}
	return ""
}

// verdict compares in some directions what was accepted with what has arrived, in
// the room or at the contact, and in the node itself.
func (w *world) verdict(ds ...direction) crash.Difference {
	w.t.Helper()
	var all crash.Difference
	for _, c := range w.talks {
		log := w.messages(c)
		for _, d := range ds {
			arrived := c.arrived(d)
			if c.contact == contact(w.phone) && d == matrixToMimir {
				arrived = w.withoutRepetitions(arrived)
			}
			all.Add(crash.Compare(c.accepted(d), arrived))
			stored := crash.Compare(c.accepted(d), log[d])
			if !stored.OK() {
				w.t.Errorf("%sthe node's own log of %s, %s: %s", w.note, c.name(), d, stored)
			}
		}
	}
	return all
}

// withoutRepetitions takes out what the phone was sent again: the node may do that
// with the one message of which it does not know whether it has arrived when a
// session ends.
func (w *world) withoutRepetitions(arrived []string) []string {
	w.t.Helper()
	once := slices.Compact(slices.Clone(arrived))
	ended := w.phone.Page(w.phone.victim).Ended
	if n := len(arrived) - len(once); n > ended {
		w.t.Errorf("%s%d texts were sent to the phone again, with %d sessions ended", w.note, n, ended)
	}
	return once
}

// messages are what the node itself has of a conversation, in order. Everything
// must be in its last state.
func (w *world) messages(c *conversation) map[direction][]string {
	w.t.Helper()
	texts := make(map[direction][]string)
	for before := uint64(0); ; {
		page, err := w.victim.Client.Messages(w.t.Context(), "-", c.key(), before, 500)
		w.must(err)
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			d, state := mimirToMatrix, "received"
			if m.Direction == "out" {
				d, state = matrixToMimir, "delivered"
			}
			if m.State != state {
				w.t.Errorf("%s%q is %s", w.note, m.Text, m.State)
			}
			texts[d] = append(texts[d], m.Text)
			before = m.Order
		}
	}
	for _, list := range texts {
		slices.Reverse(list)
	}
	return texts
}

// check waits until everything has arrived, and prints and checks the outcome.
func (w *world) check(ds ...direction) {
	w.t.Helper()
	w.settle()
	// Whatever is shown twice would come before the next.
	w.say(1, directions...)
	w.settle()
	for _, d := range ds {
		outcome := w.verdict(d)
		count(d, w.kills, outcome)
		line := fmt.Sprintf("%s%s: kills %d %s", w.note, d, w.kills, outcome)
		if !outcome.OK() {
			w.t.Error(line)
			continue
		}
		w.t.Log(line)
	}
}

// totals are what all tests together have seen.
var totals struct {
	sync.Mutex
	kills    map[direction]int
	outcomes map[direction]*crash.Difference
}

func count(d direction, kills int, outcome crash.Difference) {
	totals.Lock()
	defer totals.Unlock()
	if totals.kills == nil {
		totals.kills, totals.outcomes = make(map[direction]int), make(map[direction]*crash.Difference)
	}
	if totals.outcomes[d] == nil {
		totals.outcomes[d] = new(crash.Difference)
	}
	totals.kills[d] += kills
	totals.outcomes[d].Add(outcome)
}

// printTotals prints a line for each direction.
func printTotals() {
	totals.Lock()
	defer totals.Unlock()
	for _, d := range append(slices.Clone(directions), inGroups) {
		if outcome := totals.outcomes[d]; outcome != nil {
			fmt.Printf("%s: kills %d %s\n", d, totals.kills[d], outcome)
		}
	}
}
