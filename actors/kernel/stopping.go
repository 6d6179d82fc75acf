// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Unstopped is an actor, or some goroutines of one, that did not stop in time.
type Unstopped struct {
	Path string
	Kind string
	// Tasks names the goroutines that are waited for; when there are none, the
	// actor itself is still in a turn.
	Tasks []string
}

func (u Unstopped) String() string {
	if len(u.Tasks) == 0 {
		return fmt.Sprintf("%s (in a turn)", u.Path)
	}
	return fmt.Sprintf("%s (goroutines: %s)", u.Path, strings.Join(u.Tasks, ", "))
}

// StopReport says what did not stop in time. As an error it is for errors.As.
type StopReport struct {
	Unstopped []Unstopped
}

// OK reports whether everything stopped.
func (r StopReport) OK() bool { return len(r.Unstopped) == 0 }

func (r StopReport) Error() string {
	if r.OK() {
		return "everything stopped"
	}
	names := make([]string, len(r.Unstopped))
	for i, u := range r.Unstopped {
		names[i] = u.String()
	}
	return "did not stop: " + strings.Join(names, "; ")
}

// unstopped lists what keeps this actor from being gone: of all below it, those
// who wait for nobody else. From any goroutine.
func (c *cell) unstopped() []Unstopped {
	u := Unstopped{Path: c.path(), Kind: c.kind.name}
	c.mu.Lock()
	ended := c.ended
	if c.over {
		for _, t := range c.tasks {
			u.Tasks = append(u.Tasks, t.name)
		}
	}
	c.mu.Unlock()
	if ended {
		return nil
	}
	var list []Unstopped
	for _, child := range c.listChildren() {
		list = append(list, child.unstopped()...)
	}
	if len(list) == 0 || len(u.Tasks) > 0 {
		list = append(list, u)
	}
	slices.SortFunc(list, func(a, b Unstopped) int { return strings.Compare(a.Path, b.Path) })
	return list
}

// stopSequence is the state of Context.StopChildren.
type stopSequence struct {
	groups  [][]string
	step    time.Duration
	until   time.Time          // of all groups together; zero for no bound
	pending map[*cell]struct{} // of the current group
	timer   *time.Timer        // of the current group
	report  StopReport
}

const defaultStopStep = 10 * time.Second

// StopChildren stops children in order: the first group together, and when all of
// it is gone the next one. A group that takes longer than step, 10 s when it is
// 0, is logged and passed, and so is every group when all together have taken total,
// unless that is 0: the rest is then told to stop and not waited for. At the end this
// actor gets ChildrenStopped; before that, it gets messages as always, also
// ChildStopped for each child. Names without a child are passed over, children not
// named are left alone. A second call while the first is under way is refused.
func (x *Context) StopChildren(order [][]string, step, total time.Duration) {
	if x.over {
		return
	}
	if x.seq != nil {
		x.Log().Error("children are already being stopped")
		return
	}
	if step <= 0 {
		step = defaultStopStep
	}
	x.seq = &stopSequence{groups: slices.Clone(order), step: step}
	if total > 0 {
		x.seq.until = time.Now().Add(total)
	}
	x.nextStep()
}

// nextStep begins the first group that has a child, or ends the sequence.
func (x *Context) nextStep() {
	q, c := x.seq, x.cell
	x.seq.stopTimer()
	for len(q.groups) > 0 {
		q.pending = make(map[*cell]struct{})
		for _, name := range q.groups[0] {
			if child, ok := c.children[name]; ok {
				q.pending[child] = struct{}{}
				child.stop(nil)
			}
		}
		q.groups = q.groups[1:]
		if len(q.pending) > 0 {
			x.step++
			step := x.step
			q.timer = time.AfterFunc(q.left(), func() { c.signal(event{kind: eventStep, ctx: x, step: step}) })
			return
		}
	}
	x.seq = nil
	c.post(envelope{ctx: x, msg: ChildrenStopped{Report: q.report}})
}

// stepGone is told of every child that is gone.
func (x *Context) stepGone(child *cell) {
	if x.seq == nil {
		return
	}
	delete(x.seq.pending, child)
	if len(x.seq.pending) == 0 {
		x.nextStep()
	}
}

// stepOverran passes a group whose time is over.
func (x *Context) stepOverran(step int) {
	if x.seq == nil || step != x.step {
		return
	}
	var late StopReport
	for child := range x.seq.pending {
		late.Unstopped = append(late.Unstopped, child.unstopped()...)
	}
	x.seq.report.Unstopped = append(x.seq.report.Unstopped, late.Unstopped...)
	x.Log().Error("children did not stop in time, stopping the next ones",
		"err", late, "after", x.seq.step, "stack", string(stackWith(allStacks(), turnMark)))
	x.nextStep()
}

// left is how long the current group may take.
func (q *stopSequence) left() time.Duration {
	if q.until.IsZero() {
		return q.step
	}
	return max(0, min(q.step, time.Until(q.until)))
}

func (q *stopSequence) stopTimer() {
	if q.timer != nil {
		q.timer.Stop()
	}
}

// turnMark is in the stack of every actor that is in a turn.
var turnMark = []byte("kernel.(*cell).run(")
