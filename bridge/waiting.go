// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"

	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

// A contact's device may be away for days. The room says so in one notice, which is
// edited as things go, and a message that has waited too long is given up, where
// the configuration says so.

const (
	// waitingEntry is the kind of the entries that these notices count as. None in a
	// log has it.
	waitingEntry store.EventKind = 254

	// waitingTick bounds how often outboxes are looked at.
	waitingTickMin, waitingTickMax = 20 * time.Millisecond, 30 * time.Second
)

// waitingNotice says what a room was told. It is kept with the bridge's tables.
type waitingNotice struct {
	Event id.EventID   `json:"event"`
	Room  id.RoomID    `json:"room"`
	Since store.Millis `json:"since"` // when the oldest message was queued
	Count int          `json:"count"`
	Edits int          `json:"edits"`
}

func waitingKey(c store.Conversation) database.Key {
	return database.Key("im.mimir.waiting." + c.Account.String() + "." + c.Contact.String())
}

// watchOutboxes tells rooms what waits, until stop ends.
func (c *connector) watchOutboxes(stop, work context.Context) {
	config := c.config.Network
	if config.WaitingNotice == 0 && config.GiveUp == 0 {
		return
	}
	patience := config.WaitingNotice
	if patience == 0 {
		patience = config.GiveUp
	}
	tick := time.NewTicker(min(max(patience/4, waitingTickMin), waitingTickMax))
	defer tick.Stop()
	told := make(map[store.Conversation]bool) // a notice may be open
	for {
		select {
		case <-stop.Done():
			return
		case <-tick.C:
		}
		for _, account := range c.deliver.attached() {
			err := guarded(c.log, "watch outboxes", func() error { return c.watchAccount(work, account, told) })
			if err != nil && stop.Err() == nil {
				c.log.Debug("what waits for contacts cannot be told now, it is tried again", "account", account.Short(), "error", oneLine(err))
			}
		}
	}
}

func (c *connector) watchAccount(ctx context.Context, account identity.PublicKey, told map[store.Conversation]bool) error {
	contacts, err := c.node.Contacts(account)
	if err != nil {
		return err
	}
	for _, contact := range contacts {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		waits, err := c.node.Outbox(account, contact.ID, maxOutbox)
		if err != nil {
			return err
		}
		for len(waits) > 0 && c.config.Network.GiveUp > 0 && time.Since(waits[0].Created.Time()) > c.config.Network.GiveUp {
			_, err := c.node.CancelMessage(ctx, account, contact.ID, waits[0].ID,
				fmt.Sprintf("the contact's device could not be reached for %s", c.config.Network.GiveUp))
			if err != nil {
				return err
			}
			waits = waits[1:]
		}
		at := store.Conversation{Account: account, Contact: contact.ID}
		if _, asked := told[at]; len(waits) == 0 && asked && !told[at] {
			continue // nothing waits, nothing is told
		}
		if err := c.tellWaiting(ctx, contact, waits, told); err != nil {
			return err
		}
	}
	return nil
}

// tellWaiting keeps the notice of one room. told has what is known of it, so that
// the tables are asked once.
func (c *connector) tellWaiting(
	ctx context.Context, contact store.Contact, waits []store.Message, told map[store.Conversation]bool,
) error {
	at := store.Conversation{Account: contact.Account, Contact: contact.ID}
	var last waitingNotice
	open := json.Unmarshal([]byte(c.br.DB.KV.Get(ctx, waitingKey(at))), &last) == nil && last.Event != ""
	told[at] = open
	long := len(waits) > 0 && c.config.Network.WaitingNotice > 0 && time.Since(waits[0].Created.Time()) > c.config.Network.WaitingNotice
	if (!open && !long) || (open && len(waits) == last.Count) {
		return nil
	}
	portal, err := c.br.GetExistingPortalByKey(ctx, mimirid.Portal(at.Account, at.Contact))
	if err != nil || portal == nil || portal.MXID == "" {
		return err
	}
	if open && last.Room != portal.MXID {
		open, last = false, waitingNotice{}
	}
	next := waitingNotice{Event: last.Event, Room: portal.MXID, Since: last.Since, Count: len(waits), Edits: last.Edits + 1}
	name := c.displayName(contact)
	var text string
	switch {
	case len(waits) > 0:
		if !open {
			next = waitingNotice{Room: portal.MXID, Since: waits[0].Created, Count: len(waits)}
		}
		text = fmt.Sprintf("⏳ Waiting for %s since %s: %s. It is delivered as soon as a device of theirs is there.",
			name, moment(next.Since), countText(len(waits)))
	case open:
		text = fmt.Sprintf("✅ %s has everything that waited since %s.", name, moment(last.Since))
	default:
		return nil
	}
	content := notice(text)
	content.Mentions = &event.Mentions{}
	if open {
		content.SetEdit(last.Event)
	}
	// The moment and the number of edits name the notice: said again after a crash,
	// it is the same one.
	scope := newSendScope(store.Event{
		Account: at.Account, Conversation: at.Contact, Seq: uint64(max(next.Since, 0)), Kind: waitingEntry,
	}, next.Edits)
	scoped, cancel := scope.with(c.br.BackgroundCtx, ctx)
	defer cancel()
	resp, err := c.br.Bot.SendMessage(scoped, portal.MXID, event.EventMessage, &event.Content{Parsed: content}, nil)
	if err != nil {
		return fmt.Errorf("tell what waits: %w", classify(err))
	}
	if !open {
		next.Event = resp.EventID
	}
	if len(waits) == 0 {
		next = waitingNotice{}
	}
	value, err := json.Marshal(next)
	if err != nil {
		return err
	}
	c.br.DB.KV.Set(ctx, waitingKey(at), string(value))
	told[at] = next.Event != ""
	return nil
}

// attached returns the accounts that are delivered for.
func (d *deliverer) attached() []identity.PublicKey {
	d.mu.Lock()
	defer d.mu.Unlock()
	return slices.Collect(maps.Keys(d.logins))
}
