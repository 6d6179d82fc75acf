// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"errors"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/kernel"
)

// The orderly stop. Service managers and people grant 10 s for all of it. The store is
// last, and stops only when everything else is gone, goroutines included: what still
// runs may write. When something does not stop in time the store stays as it is, and
// the end of the process ends it: what was accepted is synced.

const (
	// stopTime is what a stop gets whose context has no deadline.
	stopTime = 10 * time.Second
	// stopStep is what one group of parts may take.
	stopStep = 3 * time.Second
	// storeStopTime is kept for the store, of the time for everything.
	storeStopTime = time.Second
)

// errStillRunning is what Close says when the store cannot be closed.
var errStillRunning = errors.New("parts of the node are still running, the store is left to the end of the process")

type (
	// shutdown is Node.Stop's; answered with stopped, within the given time.
	shutdown struct{ Within time.Duration }
	stopped  struct{ Report kernel.StopReport }
	// stopOver is the node actor's own: the time for everything but the store is over.
	stopOver struct{}
)

// ending is what the node actor knows of its stop.
type ending struct {
	waiting  []kernel.Ref // for the report
	report   kernel.StopReport
	passed   bool // the sequence of all parts is through
	over     bool // and so is their time
	stopping bool // the store is being stopped
}

// Stop stops the actors in order, within the deadline of ctx or 10 s. When a part takes
// too long, the error names what did not stop, and the store is not closed; nothing
// accepted is lost even then. It may be called again.
func (n *Node) Stop(ctx context.Context) error {
	if n.system == nil {
		return nil
	}
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, stopTime)
		defer cancel()
	}
	deadline, _ := ctx.Deadline()
	end, err := kernel.Ask[stopped](ctx, n.root, shutdown{Within: time.Until(deadline)})
	switch {
	case errors.Is(err, kernel.ErrStopped): // it had stopped by itself, after a failure
	case err != nil:
		return err
	case !end.Report.OK():
		return end.Report
	}
	if err := n.system.Stop(ctx); err != nil {
		return err
	}
	n.running.Store(false)
	return nil
}

// Close closes the store. Call it after Stop. When something is still running the store
// is left as it is, for the end of the process.
func (n *Node) Close() error {
	if n.running.Load() {
		return errStillRunning
	}
	return errors.Join(n.files.Close(), n.store.Close())
}

// onShutdown stops the parts so that nothing new is taken in while what was taken
// in is finished: first those who bring work, last those everybody needs.
func (n *nodeActor) onShutdown(c *kernel.Context, msg shutdown) {
	if sender := c.Sender(); !sender.IsZero() {
		n.ending.waiting = append(n.ending.waiting, sender)
	}
	if n.stopping {
		n.ending.over = false
		c.After(max(0, msg.Within-storeStopTime), stopOver{})
		n.stopStoreWhenAlone(c)
		return
	}
	n.stopping = true
	if msg.Within <= 0 {
		msg.Within = stopTime
	}
	// The answer has to be there before the deadline.
	forParts := msg.Within - storeStopTime - storeStopTime/4
	var parts []string
	for _, part := range n.node.opts.Parts {
		parts = append(parts, part.Name)
	}
	order := [][]string{
		parts,
		{listenerName, trackerName, transfersName, retentionName, filesName, mediatorName},
		n.accountNames(c),
		{resolverName, answeringName},
		{overlayName},
	}
	c.After(forParts, stopOver{})
	c.StopChildren(order, stopStep, forParts)
}

// onChildrenStopped: all parts were told to stop, and perhaps did.
func (n *nodeActor) onChildrenStopped(c *kernel.Context, msg kernel.ChildrenStopped) {
	if n.ending.stopping {
		n.report(c, msg.Report)
		if msg.Report.OK() {
			c.StopSelf(nil)
		}
		return
	}
	n.ending.passed, n.ending.report = true, msg.Report
	n.stopStoreWhenAlone(c)
}

// onStopOver reports what has not stopped.
func (n *nodeActor) onStopOver(c *kernel.Context) {
	n.ending.over = true
	n.stopStoreWhenAlone(c)
}

// stopStoreWhenAlone stops the store when everything else is gone, or reports that it
// cannot when the time is over.
func (n *nodeActor) stopStoreWhenAlone(c *kernel.Context) {
	if n.ending.stopping || !n.ending.passed {
		return
	}
	others := slices.DeleteFunc(c.Children(), func(child kernel.Ref) bool { return path.Base(child.Path()) == storeName })
	switch {
	case len(others) == 0:
		n.ending.stopping = true
		c.StopChildren([][]string{{storeName}}, storeStopTime, 0)
	case n.ending.over:
		late := n.ending.report
		for _, child := range others {
			if !slices.ContainsFunc(late.Unstopped, func(u kernel.Unstopped) bool { return strings.HasPrefix(u.Path, child.Path()) }) {
				late.Unstopped = append(late.Unstopped, kernel.Unstopped{Path: child.Path()})
			}
		}
		n.report(c, late)
	}
}

// report answers who waits for the stop.
func (n *nodeActor) report(c *kernel.Context, report kernel.StopReport) {
	for _, w := range n.ending.waiting {
		c.Tell(w, stopped{report})
	}
	n.ending.waiting = nil
}
