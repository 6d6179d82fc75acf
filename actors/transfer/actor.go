// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

const (
	// transferPause is the pause of a file whose attempt ended without noting when the
	// next is due.
	transferPause = 10 * time.Second
	// renewEvery is the interval of the search for undelivered files that a server will
	// soon delete, renewAfter the age of such an upload.
	renewEvery = time.Hour
	renewAfter = files.KeepTime - 2*24*time.Hour
)

// mover moves files to and from file servers and contacts, a few at a time. The queue is
// in the store, ordered by when the next attempt is due; each attempt is a child, which
// writes the outcome to the store itself. So a restart loses nothing but attempts.
type mover struct {
	service *Service

	active map[string]store.Conversation // of each child
	// resting has the end of the pause of files, see transferPause.
	resting map[string]time.Time
	look    map[identity.PublicKey]struct{} // accounts whose queue is to be read
	timer   kernel.Timer
	due     time.Time // when timer fires; zero without one
}

type (
	transfersDue struct{}
	renewDue     struct{}
)

// NewActor returns the actor that moves files. It has to get uplink.Changed; the attempts
// are its children.
func NewActor(s *Service) kernel.Actor {
	return &mover{
		service: s, active: make(map[string]store.Conversation), resting: make(map[string]time.Time),
		look: make(map[identity.PublicKey]struct{}),
	}
}

func (t *mover) Started(c *kernel.Context) error {
	t.service.deps.Store.WatchLog(c, identity.PublicKey{})
	c.Every(renewEvery, renewDue{})
	t.onRenewDue(c)
	return t.lookAtAll(c)
}

func (t *mover) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case store.LogChanged:
		t.onChanged(c, msg)
	case transfersDue:
		t.due = time.Time{}
		t.failOn(c, t.lookAtAll(c))
	case uplink.Changed:
		t.failOn(c, t.lookAtAll(c))
	case renewDue:
		t.onRenewDue(c)
	case kernel.ChildStopped:
		t.onTransferStopped(c, msg)
	case kernel.TaskDone:
		t.onTaskDone(c, msg)
	}
}

func (t *mover) failOn(c *kernel.Context, err error) {
	if err != nil {
		c.Fail(err)
	}
}

func (t *mover) onChanged(c *kernel.Context, msg store.LogChanged) {
	msg.Release()
	if msg.Changes.All {
		t.failOn(c, t.lookAtAll(c))
		return
	}
	changed := false
	for conversation, by := range msg.Changes.Conversations {
		if by.Transfers() {
			t.look[conversation.Account] = struct{}{}
			changed = true
		}
	}
	if changed {
		t.failOn(c, t.pump(c))
	}
}

func (t *mover) lookAtAll(c *kernel.Context) error {
	accounts, err := t.service.deps.Store.Accounts()
	if err != nil {
		return fmt.Errorf("read accounts: %w", err)
	}
	for _, a := range accounts {
		t.look[a.ID] = struct{}{}
	}
	return t.pump(c)
}

// pump starts attempts at the files that are due while there are free places. Accounts
// with more of them stay in look.
func (t *mover) pump(c *kernel.Context) error {
	if !t.service.deps.Network.Up() {
		return nil // continues with uplink.Changed
	}
	queue := queue{t.service.deps.Store, maxParallel}
	for account := range t.look {
		choice, err := queue.next(account, t.service.deps.Now(), t.active, t.rest)
		if err != nil {
			return err
		}
		for _, m := range choice.files {
			name := transferName(m)
			if _, err := c.Spawn(newAttemptSpec(t.service, name, m)); err != nil {
				return fmt.Errorf("start transfer: %w", err)
			}
			t.active[name] = store.Conversation{Account: m.Account, ID: m.Conversation}
		}
		if choice.wait >= 0 {
			t.wakeIn(c, choice.wait)
		}
		if choice.more {
			continue // continues when a child has ended
		}
		delete(t.look, account)
	}
	return nil
}

// rest is the remaining pause of a file, see transferPause.
func (t *mover) rest(name string) time.Duration {
	until, ok := t.resting[name]
	if !ok {
		return 0
	}
	left := time.Until(until)
	if left <= 0 {
		delete(t.resting, name)
	}
	return max(left, 0)
}

func (t *mover) wakeIn(c *kernel.Context, d time.Duration) {
	at := time.Now().Add(d)
	if !t.due.IsZero() && !at.Before(t.due) {
		return
	}
	t.timer.Stop()
	t.due = at
	t.timer = c.After(d, transfersDue{})
}

func (t *mover) onTransferStopped(c *kernel.Context, msg kernel.ChildStopped) {
	account := t.active[msg.Name].Account
	delete(t.active, msg.Name)
	if msg.Err != nil {
		c.Log().Warn("transfer ended without a result", "transfer", msg.Name, "err", msg.Err)
		t.resting[msg.Name] = time.Now().Add(transferPause)
	}
	t.look[account] = struct{}{}
	t.failOn(c, t.pump(c))
}

// onRenewDue renews uploads and removes orphans, in a goroutine.
func (t *mover) onRenewDue(c *kernel.Context) {
	c.Go("tidy", func(ctx context.Context) error {
		return errors.Join(t.service.renewUploads(ctx), t.service.tidyMedia())
	})
}

func (t *mover) onTaskDone(c *kernel.Context, msg kernel.TaskDone) {
	if msg.Name != "tidy" {
		c.Fail(fmt.Errorf("%s: %w", msg.Name, msg.Err))
	}
	if msg.Err != nil && !errors.Is(msg.Err, context.Canceled) {
		c.Log().Warn("tidying the media store failed", "err", msg.Err)
	}
}

// transferName is the name of the attempt at the file of a message.
func transferName(m store.Media) string {
	return m.Account.Short() + "-" + m.Conversation.String() + "-" + m.Message.String()
}

// renewUploads queues another upload of undelivered files that the file server will soon
// delete. The app does not do that, and its files are lost then.
func (s *Service) renewUploads(ctx context.Context) error {
	accounts, err := s.deps.Store.Accounts()
	if err != nil {
		return err
	}
	for _, a := range accounts {
		conversations, err := s.deps.Store.OutboxConversations(a.ID)
		if err != nil {
			return err
		}
		for _, conversation := range conversations {
			if err := s.renewOutbox(ctx, a.ID, conversation); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Service) renewOutbox(ctx context.Context, account identity.PublicKey, conversation store.ConversationID) error {
	var waiting []store.MessageID
	for msg, err := range s.deps.Store.Undelivered(account, conversation) {
		if err != nil {
			return err
		}
		if eventlog.HasFile(msg) {
			waiting = append(waiting, msg.ID)
		}
	}
	for _, id := range waiting {
		m, err := s.deps.Store.Media(account, conversation, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return err
		}
		if m.State != store.MediaStored || s.deps.Now().Sub(m.Uploaded.Time()) < renewAfter {
			continue
		}
		m.State, m.Due, m.Attempts, m.Key = store.MediaUploading, s.nowMillis(), 0, files.Key{}
		if _, err := store.Do[bool](ctx, s.deps.Writer(), store.ChangeMedia{From: store.MediaStored, Media: m, Hold: true}); err != nil {
			return err
		}
	}
	return nil
}

// tidyMedia removes incomplete files that are not being downloaded, and orphans: files
// without a row.
func (s *Service) tidyMedia() error {
	wanted := make(map[media.Hash]struct{})
	known := make(map[media.Hash]struct{})
	watch := s.placements.watch()
	defer s.placements.unwatch(watch)
	err := s.eachMedia(func(m store.Media) error {
		known[m.Hash] = struct{}{}
		if m.State != store.MediaDownloading {
			return nil
		}
		if msg, err := s.deps.Store.Message(m.Account, m.Conversation, m.Message); err == nil {
			if a, err := peer.ParseAttachment(msg.Payload); err == nil {
				if h, err := files.ParseHash(a.Hash); err == nil {
					wanted[media.Hash(h)] = struct{}{}
				}
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	var orphans []media.Hash
	err = s.media.Each(func(h media.Hash, _ int64) error {
		if _, ok := known[h]; !ok {
			orphans = append(orphans, h)
		}
		return nil
	})
	for _, h := range orphans {
		err = errors.Join(err, s.placements.remove(watch, h, func() error { return s.media.Remove(h) }))
	}
	return errors.Join(err, s.media.RemovePartials(func(h media.Hash) bool {
		_, ok := wanted[h]
		return ok
	}))
}

func (s *Service) eachMedia(f func(store.Media) error) error {
	accounts, err := s.deps.Store.Accounts()
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if err := s.deps.Store.EachMedia(a.ID, f); err != nil {
			return err
		}
	}
	return nil
}
