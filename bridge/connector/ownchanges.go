// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"

	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// ownChanges are the changes of groups from Matrix, in the bridge's tables. It is safe for
// use by many goroutines.
type ownChanges struct {
	*Connector
	mu sync.Mutex // held while the changes of a group are read and written
}

func changesKey(at store.Conversation) database.Key {
	return database.Key("im.mimir.changes." + at.Account.String() + "." + at.ID.String())
}

// update reads the changes of a group and writes them when use has changed them.
func (o *ownChanges) update(ctx context.Context, at store.Conversation, use func(groupchat.Changes) (after groupchat.Changes, changed bool)) {
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

// begin notes a change before its task is queued. It reports true when the task was queued
// before.
func (o *ownChanges) begin(ctx context.Context, at store.Conversation, change groupchat.Change) (queued bool) {
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

// queued notes the task of a change.
func (o *ownChanges) queued(ctx context.Context, at store.Conversation, change groupchat.Change) {
	o.update(ctx, at, func(c groupchat.Changes) (groupchat.Changes, bool) {
		known := c.Find(change.Event, change.User)
		if known != nil {
			known.Task = change.Task
		}
		return c, known != nil
	})
}

// forget removes a change that is not made.
func (o *ownChanges) forget(ctx context.Context, at store.Conversation, change groupchat.Change) {
	o.update(ctx, at, func(c groupchat.Changes) (groupchat.Changes, bool) {
		return c.Without(change.Event, change.User), true
	})
}

// ofEvent returns the change that an event has made about somebody.
func (o *ownChanges) ofEvent(ctx context.Context, at store.Conversation, evt id.EventID, user identity.PublicKey) (change groupchat.Change, found bool) {
	o.update(ctx, at, func(c groupchat.Changes) (groupchat.Changes, bool) {
		if known := c.Find(evt, user); known != nil {
			change, found = *known, true
		}
		return c, false
	})
	return change, found
}

// ofTask returns the change that a task is for.
func (o *ownChanges) ofTask(ctx context.Context, at store.Conversation, task uint64) (change groupchat.Change, found bool) {
	o.update(ctx, at, func(c groupchat.Changes) (groupchat.Changes, bool) {
		change, found = c.OfTask(task)
		return c, false
	})
	return change, found
}

// isReport reports whether a message of the mediator reports a change that one of our users has
// made in the room, which shows it already.
func (o *ownChanges) isReport(ctx context.Context, group store.ConversationID, m store.Message) (report bool) {
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
