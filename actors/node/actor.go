// SPDX-License-Identifier: MPL-2.0

package node

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/account"
	"github.com/mimird/mimird/actors/answering"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
)

const (
	storeName     = "store"
	overlayName   = "overlay"
	resolverName  = "resolver"
	listenerName  = "listener"
	trackerName   = "tracker"
	transfersName = "transfers"
	retentionName = "retention"
	answeringName = "answering"
	filesName     = "files"
	mediatorName  = "mediator"

	// A part that failed alarmAfter times, the last time within alarmMemory, is
	// worth an alarm: one failure is what restarts are for.
	alarmAfter  = 3
	alarmMemory = 5 * time.Minute
	// strangerLogFlush tells what was suppressed when nothing follows.
	strangerLogFlush = time.Minute
)

var errStoreStopped = errors.New("the store stopped")

// nodeActor is the root of the tree: it starts the parts, passes streams and news
// on, brings parts back that have been given up, and stops everything in order.
type nodeActor struct {
	node *Node
	// accounts is for the account actors.
	accounts *account.Deps

	failing map[string]failing
	// closed are accounts that are being removed, by the names of their actors; the
	// value is who waits for the actor's end.
	closed   map[string]kernel.Ref
	stopping bool
	ending   ending
}

// failing is a part that was restarted lately, or has been given up.
type failing struct {
	times  int
	since  time.Time
	last   time.Time
	err    error
	gaveUp bool
}

// Messages to the node actor.
type (
	// accountsChanged is the API's: look at the accounts in the store again.
	accountsChanged struct{}
	// closeAccount is the API's: end the actors of an account that is going to be
	// removed; answered with accountClosed. reopenAccounts is the API's, when it is
	// removed or could not be: look at the accounts in the store again.
	closeAccount   struct{ Account identity.PublicKey }
	accountClosed  struct{}
	reopenAccounts struct{ Account identity.PublicKey }
	// alarmsRequest is the API's; answered with []Alarm.
	alarmsRequest struct{}
	// partRequest is the API's; answered with the kernel.Ref of that child.
	partRequest struct{ Name string }
	// readyRequest is Node.Start's; answered with ready.
	readyRequest struct{}
	ready        struct{}
	// rotateChallenges and flushStrangerLog are its own.
	rotateChallenges struct{}
	flushStrangerLog struct{}
)

// Alarm is a part of the node that keeps failing.
type Alarm struct {
	Part string
	// Since is when it began to fail, Err why it failed last.
	Since time.Time
	Err   error
	// GaveUp says that it is not started again before the node is; an account is after
	// some minutes.
	GaveUp bool
}

func (n *nodeActor) Started(c *kernel.Context) error {
	spawn := func(name string, make func() kernel.Actor) kernel.Ref {
		ref, err := c.Spawn(kernel.Spec{Name: name, Kind: name, New: make, Backoff: kernel.Backoff{Forever: true}})
		if err != nil {
			c.Fail(fmt.Errorf("start %s: %w", name, err))
		}
		return ref
	}
	// A part may use those that were started before it. A store actor that
	// panics is not started again: what it has in memory was true before, and nobody
	// knows what is now. The process ends in order and reads it from the disk.
	writer, err := c.Spawn(kernel.Spec{
		Name: storeName, Kind: storeName, Once: true, Resident: true,
		New: func() kernel.Actor { return store.NewActor(n.node.store) },
	})
	if err != nil {
		return fmt.Errorf("start %s: %w", storeName, err)
	}
	// Before anything that rests on the keys, such as an account.
	c.Tell(writer, store.Write{Op: store.RememberNodeKeys{Keys: n.node.nodeKeys()}})
	if n.node.opts.OpenNetwork != nil {
		n.node.resolver = spawn(resolverName, func() kernel.Actor { return resolver.New(n.node.resolverDeps(writer)) })
		spawn(listenerName, func() kernel.Actor { return session.NewListener(n.node.sessionDeps(writer)) })
		spawn(overlayName, func() kernel.Actor {
			return uplink.NewActor(uplink.Deps{Open: n.node.opts.OpenNetwork, Key: n.node.keys.Node(), Cell: n.node.net, Pairs: n.node.contactNodes.Pairs})
		})
	}
	if n.node.opts.Tracker != nil {
		spawn(trackerName, func() kernel.Actor { return trackerserver.NewActor(n.node.trackerDeps(), *n.node.opts.Tracker) })
	}
	if n.node.opts.Files != nil {
		spawn(filesName, func() kernel.Actor { return fileserver.NewActor(n.node.filesDeps(writer), *n.node.opts.Files) })
	}
	if n.node.opts.Mediator != nil {
		spawn(mediatorName, func() kernel.Actor {
			return mediatorserver.NewActor(n.node.mediatorDeps(writer), *n.node.opts.Mediator)
		})
	}
	n.node.writer.Store(&writer)
	if n.node.opts.OpenNetwork != nil {
		spawn(transfersName, func() kernel.Actor { return transfer.NewActor(n.node.files) })
		spawn(answeringName, func() kernel.Actor { return answering.NewActor(n.node.answering) })
		spawn(retentionName, func() kernel.Actor { return retention.NewActor(n.node.retention) })
	}
	n.accounts = n.node.accountDeps(writer)
	if err := n.startAccounts(c); err != nil {
		return err
	}
	for _, part := range n.node.opts.Parts {
		spawn(part.Name, func() kernel.Actor { return part.New(n.node) })
	}
	c.Every(keyring.ChallengeRotation, rotateChallenges{})
	c.Every(strangerLogFlush, flushStrangerLog{})
	return nil
}

func (n *nodeActor) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case session.Inbound:
		n.onInbound(c, msg)
	case uplink.Opened:
		n.tellChildren(c, msg, resolverName, listenerName)
	case uplink.Changed:
		n.onOverlayChanged(c, msg)
	case accountsChanged:
		if err := n.startAccounts(c); err != nil {
			c.Fail(err)
		}
	case closeAccount:
		n.onCloseAccount(c, msg)
	case reopenAccounts:
		delete(n.closed, account.Name(msg.Account))
		if err := n.startAccounts(c); err != nil {
			c.Fail(err)
		}
	case resolver.StatusRequest:
		c.Forward(n.node.resolver, msg)
	case alarmsRequest:
		n.onAlarmsRequest(c)
	case partRequest:
		child, _ := c.Child(msg.Name) // zero, which answers ErrStopped
		c.Reply(child)
	case readyRequest:
		c.Reply(ready{})
	case shutdown:
		n.onShutdown(c, msg)
	case stopOver:
		n.onStopOver(c)
	case rotateChallenges:
		n.node.keys.Rotate()
	case store.Written: // of RememberNodeKeys
		if msg.Err != nil {
			c.Log().Warn("node keys not remembered", "err", msg.Err)
		}
	case flushStrangerLog:
		n.node.strangerLog.Flush()
	case kernel.ChildFailed:
		n.onChildFailed(msg)
	case kernel.ChildStopped:
		n.onChildStopped(c, msg)
	case kernel.ChildrenStopped:
		n.onChildrenStopped(c, msg)
	}
}

// startAccounts starts an actor for every account in the store that has none.
func (n *nodeActor) startAccounts(c *kernel.Context) error {
	if n.node.opts.OpenNetwork == nil {
		return nil
	}
	accounts, err := n.node.store.Accounts()
	if err != nil {
		return fmt.Errorf("read accounts: %w", err)
	}
	for _, a := range accounts {
		if _, ok := c.Child(account.Name(a.ID)); ok {
			continue
		}
		if _, ok := n.closed[account.Name(a.ID)]; ok {
			continue
		}
		if _, err := c.Spawn(account.NewSpec(n.accounts, a.ID)); err != nil {
			return fmt.Errorf("start account: %w", err)
		}
		delete(n.failing, account.Name(a.ID))
	}
	return nil
}

// onCloseAccount ends an account's actor, which is not started again before
// reopenAccounts.
func (n *nodeActor) onCloseAccount(c *kernel.Context, msg closeAccount) {
	name := account.Name(msg.Account)
	n.closed[name] = c.Sender()
	if child, ok := c.Child(name); ok {
		c.Stop(child)
		return
	}
	c.Reply(accountClosed{})
}

func (n *nodeActor) onInbound(c *kernel.Context, msg session.Inbound) {
	account, ok := c.Child(account.Name(msg.Account))
	if !ok || n.stopping {
		msg.Stream.Drop()
		return
	}
	c.Tell(account, msg)
}

func (n *nodeActor) onOverlayChanged(c *kernel.Context, msg uplink.Changed) {
	n.tellChildren(c, msg, append(n.accountNames(c), resolverName, transfersName)...)
}

func (n *nodeActor) accountNames(c *kernel.Context) []string {
	var names []string
	for _, child := range c.Children() {
		if name := path.Base(child.Path()); strings.HasPrefix(name, account.NamePrefix) {
			names = append(names, name)
		}
	}
	return names
}

func (n *nodeActor) tellChildren(c *kernel.Context, msg any, names ...string) {
	for _, name := range names {
		if child, ok := c.Child(name); ok {
			c.Tell(child, msg)
		}
	}
}

// onChildFailed: a part is about to be restarted.
func (n *nodeActor) onChildFailed(msg kernel.ChildFailed) {
	now := time.Now()
	f := n.failing[msg.Name]
	if f.times == 0 || now.Sub(f.last) > alarmMemory {
		f = failing{since: now}
	}
	f.times++
	f.last, f.err = now, msg.Err
	n.failing[msg.Name] = f
}

// onChildStopped: a part has ended for good. Without the store nothing is safe;
// everything else can do without.
func (n *nodeActor) onChildStopped(c *kernel.Context, msg kernel.ChildStopped) {
	if waiting, ok := n.closed[msg.Name]; ok {
		c.Tell(waiting, accountClosed{})
	}
	if !n.stopping && msg.Err == nil && strings.HasPrefix(msg.Name, account.NamePrefix) {
		// One whose removal was given up meanwhile is still in the store.
		if err := n.startAccounts(c); err != nil {
			c.Fail(err)
		}
	}
	if n.stopping {
		n.stopStoreWhenAlone(c)
		return
	}
	if msg.Err == nil {
		return
	}
	if msg.Name == storeName {
		n.node.fail(fmt.Errorf("%w: %w", errStoreStopped, msg.Err))
		n.onShutdown(c, shutdown{})
		return
	}
	if strings.HasPrefix(msg.Name, account.NamePrefix) {
		c.Log().Error("actor given up for now", "child", msg.Name, "err", msg.Err, "retry_in", account.ChildPause)
		c.After(account.ChildPause, accountsChanged{})
	} else {
		c.Log().Error("part of the node given up", "child", msg.Name, "err", msg.Err)
	}
	now := time.Now()
	n.failing[msg.Name] = failing{since: now, last: now, err: msg.Err, gaveUp: true}
}

func (n *nodeActor) onAlarmsRequest(c *kernel.Context) {
	var alarms []Alarm
	for name, f := range n.failing {
		if f.gaveUp || f.times >= alarmAfter && time.Since(f.last) <= alarmMemory {
			alarms = append(alarms, Alarm{Part: name, Since: f.since, Err: f.err, GaveUp: f.gaveUp})
		}
	}
	slices.SortFunc(alarms, func(a, b Alarm) int { return strings.Compare(a.Part, b.Part) })
	c.Reply(alarms)
}
