// SPDX-License-Identifier: MPL-2.0

package groups

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// Changes are the changes of groups that our users have made in their rooms, in the bridge's
// tables. They may be used from any goroutine.
type Changes struct {
	br *bridgev2.Bridge
	mu sync.Mutex // held while the changes of a group are read and written
}

// NewChanges returns the changes of a bridge.
func NewChanges(br *bridgev2.Bridge) *Changes { return &Changes{br: br} }

func changesKey(at store.Conversation) database.Key {
	return database.Key("im.mimir.changes." + at.Account.String() + "." + at.ID.String())
}

// update reads the changes of a group and writes them when use has changed them.
func (o *Changes) update(ctx context.Context, at store.Conversation, use func(groupchat.Changes) (after groupchat.Changes, changed bool)) {
	o.mu.Lock()
	defer o.mu.Unlock()
	var changes groupchat.Changes
	_ = json.Unmarshal([]byte(o.br.DB.KV.Get(ctx, changesKey(at))), &changes) // none yet
	changes, changed := use(changes)
	if !changed {
		return
	}
	text, err := json.Marshal(changes)
	if err != nil {
		panic(fmt.Sprintf("bridge: %v", err)) // a struct of plain fields
	}
	o.br.DB.KV.Set(ctx, changesKey(at), string(text))
}

// Begin notes a change before its task is queued. It reports true when the task was queued
// before.
func (o *Changes) Begin(ctx context.Context, at store.Conversation, change groupchat.Change) (queued bool) {
	o.update(ctx, at, func(c groupchat.Changes) (groupchat.Changes, bool) {
		known := c.Find(change.Event, change.User)
		if known == nil {
			return c.Add(change), true
		}
		queued = known.Task != 0
		return c, false
	})
	return queued
}

// Queued notes the task of a change.
func (o *Changes) Queued(ctx context.Context, at store.Conversation, change groupchat.Change) {
	o.update(ctx, at, func(c groupchat.Changes) (groupchat.Changes, bool) {
		known := c.Find(change.Event, change.User)
		if known != nil {
			known.Task = change.Task
		}
		return c, known != nil
	})
}

// Forget removes a change that is not made.
func (o *Changes) Forget(ctx context.Context, at store.Conversation, change groupchat.Change) {
	o.update(ctx, at, func(c groupchat.Changes) (groupchat.Changes, bool) {
		return c.Without(change.Event, change.User), true
	})
}

// OfEvent returns the change that an event has made about somebody.
func (o *Changes) OfEvent(ctx context.Context, at store.Conversation, evt id.EventID, user identity.PublicKey) (change groupchat.Change, found bool) {
	o.update(ctx, at, func(c groupchat.Changes) (groupchat.Changes, bool) {
		if known := c.Find(evt, user); known != nil {
			change, found = *known, true
		}
		return c, false
	})
	return change, found
}

// OfTask returns the change that a task is for.
func (o *Changes) OfTask(ctx context.Context, at store.Conversation, task uint64) (change groupchat.Change, found bool) {
	o.update(ctx, at, func(c groupchat.Changes) (groupchat.Changes, bool) {
		change, found = c.OfTask(task)
		return c, false
	})
	return change, found
}

// IsReport reports whether a message of the mediator reports a change that one of our users has
// made in the room, which shows it already.
func (o *Changes) IsReport(ctx context.Context, group store.ConversationID, m store.Message) (report bool) {
	s, err := mediator.ParseSystem(m.Payload)
	if err != nil {
		return false
	}
	o.update(ctx, store.Conversation{Account: s.Actor, ID: group}, func(c groupchat.Changes) (groupchat.Changes, bool) {
		report = c.Reported(s, m.ID.String())
		return c, report
	})
	return report
}
