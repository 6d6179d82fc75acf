// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"testing"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/test/demo"
)

// later is a passing of a point with everything already in motion.
const later = 7

// pointCases are the points, and in which direction each kills.
var pointCases = map[crashpoint.Name]direction{
	crashpoint.AfterDecode: mimirToMatrix,
	crashpoint.BeforeOK:    mimirToMatrix,
	crashpoint.AfterOK:     mimirToMatrix,
	crashpoint.BeforeRoom:  mimirToMatrix,
	crashpoint.AfterRoom:   mimirToMatrix,

	crashpoint.BeforeTransaction:   matrixToMimir,
	crashpoint.BeforeTransactionOK: matrixToMimir,
	crashpoint.AfterTransactionOK:  matrixToMimir,
	crashpoint.AfterEnqueue:        matrixToMimir,
	crashpoint.BeforeSend:          matrixToMimir,
	crashpoint.AfterSend:           matrixToMimir,
	crashpoint.BeforeDelivered:     matrixToMimir,
}

func TestEveryPointHasACase(t *testing.T) {
	names := crashpoint.Names()
	for _, name := range names {
		_, message := pointCases[name]
		_, file := fileCases[name]
		_, mediated := mediatorCases[name]
		called := slices.ContainsFunc(callCases, func(c callDeath) bool { return c.point == name })
		if !message && !file && !mediated && !called && !slices.Contains(forwardCases, name) {
			t.Errorf("no case for the point %s", name)
		}
	}
	for name := range fileCases {
		if !slices.Contains(names, name) {
			t.Errorf("a case for %s, which is not a point", name)
		}
	}
	for name := range mediatorCases {
		if !slices.Contains(names, name) {
			t.Errorf("a case for %s, which is not a point", name)
		}
	}
	for name := range pointCases {
		if !slices.Contains(names, name) {
			t.Errorf("a case for %s, which is not a point", name)
		}
	}
}

// Bar R03: killed at every point, at the first passing and later.
func TestKilledAtEveryPoint(t *testing.T) {
	t.Parallel()
	for name := range pointCases {
		t.Run(string(name), func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			w.note = fmt.Sprintf("point %s: ", name)
			w.must(w.victim.Stop())
			end := w.load(directions...)
			w.dieAt(name, 1)
			// A homeserver that does not know any more what it was sent.
			w.homeserver.ForgetTransactions()
			w.dieAt(name, later)
			w.must(w.victim.Start(w.soon()))
			for _, c := range w.talks {
				for _, d := range directions {
					if !poll(nil, func() bool { return len(c.accepted(d)) >= 20 }) {
						t.Errorf("%sonly %d texts, %s, %s", w.note, len(c.accepted(d)), c.name(), d)
					}
				}
			}
			end()
			w.check(directions...)
		})
	}
}

// Bars R01, R03: killed when a message is stored and its sender does not know. It
// reaches the room without being sent again, and only once when it is.
func TestKilledBetweenCommitAndOK(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.must(w.victim.Stop())
	c := w.talkOfPhone()
	w.must(c.write(w.soon(), mimirToMatrix))
	w.dieAt(crashpoint.BeforeOK, 1)
	w.phone.Stop()
	if n, err := w.phone.waiting(t.Context()); n != 1 || err != nil {
		t.Fatalf("%d texts wait for an OK (%v)", n, err)
	}
	w.must(w.victim.Start(w.soon()))
	if !poll(nil, func() bool { return c.underWay(mimirToMatrix) == 0 }) {
		t.Error("what was stored does not come into the room")
	}
	w.must(w.phone.on())
	w.check(directions...)
}

// Bars R01, R06: the sender has been told OK and will never repeat it, the
// homeserver is down, and the node is killed.
func TestKilledBetweenOKAndRoom(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultDown})
	w.say(5, mimirToMatrix)
	for _, c := range w.talks {
		if !poll(nil, func() bool { n, err := c.waiting(t.Context()); return n == 0 && err == nil }) {
			t.Fatalf("%s is not told OK while the homeserver is down", c.name())
		}
	}
	w.kill()
	for _, c := range w.talks {
		if n := c.underWay(mimirToMatrix); n != 5 {
			t.Errorf("%d of 5 texts of %s are not in the room", n, c.name())
		}
	}
	w.must(w.victim.Start(w.soon()))
	w.homeserver.SetFault(bridgetest.Fault{})
	w.check(directions...)
}

func (w *world) talkOfPhone() *conversation {
	i := slices.IndexFunc(w.talks, func(c *conversation) bool { return c.contact == contact(w.phone) })
	return w.talks[i]
}

// dieAt starts the node and waits until it has died at a point.
func (w *world) dieAt(name crashpoint.Name, passing int) {
	w.t.Helper()
	w.must(w.victim.Launch(fmt.Sprintf("%s=%s:%d", crashpoint.Env, name, passing)))
	w.died(name, passing)
}

// died waits until the node has died at a point.
func (w *world) died(name crashpoint.Name, passing int) {
	w.t.Helper()
	w.diedAt(w.victim, name, passing)
}

// diedAt waits until a node has died at a point.
func (w *world) diedAt(n *demo.Node, name crashpoint.Name, passing int) {
	w.t.Helper()
	ended := n.Process().Ended()
	if !poll(ended, func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	}) {
		w.t.Fatalf("%sthe node does not come to %s %d times", w.note, name, passing)
	}
	n.Client.Close()
	if err := n.Process().Err(); !killed(err) {
		w.t.Fatalf("%sthe node did not die there, it ended by itself: %v", w.note, err)
	}
	w.kills++
}

// killed reports whether a process has ended as one does that is killed.
func killed(err error) bool {
	var exit *exec.ExitError
	return errors.As(err, &exit) && (exit.String() == "signal: killed" || exit.ExitCode() == 137)
}
