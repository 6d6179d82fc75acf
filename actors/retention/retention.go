// SPDX-License-Identifier: MPL-2.0

// Package retention removes messages and events that are not wanted any more: by the
// periods of the configuration, and when a person clears a conversation. By default
// nothing is removed. What recognises a repeat of a message stays, and so does what is
// undelivered, is being transferred, or that a consumer of the event log has before it;
// the operations of the store see to that (actors/store/retention.go).
//
// The node makes one [Service]. Its actor ([NewActor]) makes a pass over all conversations
// once an hour; Clear is for goroutines outside of actors.
package retention

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// startDelay keeps the first pass from slowing down the start of the node.
	startDelay = 5 * time.Minute
	interval   = time.Hour
	// busyRetries is how often a batch is chosen anew because something happened in the
	// account meanwhile; after that the next pass does it.
	busyRetries = 5
	// maxHolders bounds how many consumers are named.
	maxHolders = 16
)

// Policy says how long things stay; 0 is for ever.
type Policy struct {
	// Contacts and Groups are for the messages of conversations that Conversations does
	// not name, in any account.
	Contacts, Groups time.Duration
	Conversations    map[store.ConversationID]time.Duration
	// Events is for the event log.
	Events time.Duration
	// Ignore are consumers that will never read again: nothing waits for them.
	Ignore []string
	// WholeLog are further consumers with one cursor for an account.
	WholeLog []string
}

// IsZero reports whether nothing is ever removed.
func (p Policy) IsZero() bool {
	if p.Contacts > 0 || p.Groups > 0 || p.Events > 0 {
		return false
	}
	for _, d := range p.Conversations {
		if d > 0 {
			return false
		}
	}
	return true
}

// of returns how long the messages of a conversation stay.
func (p Policy) of(c store.ConversationID) time.Duration {
	if d, named := p.Conversations[c]; named {
		return d
	}
	if c.Kind() == store.KindGroup {
		return p.Groups
	}
	return p.Contacts
}

// Deps is what the service uses.
type Deps struct {
	Store *store.Store
	// Writer is the store's actor, zero before the node is started.
	Writer func() kernel.Ref
	Now    func() time.Time
	Policy Policy
	// WholeLog are consumers with one cursor for an account.
	WholeLog []string
	// Only returns the consumers that follow some conversations of an account alone, and
	// which; nil for none.
	Only func(account identity.PublicKey) (map[string][]store.ConversationID, error)
}

// Clear says which messages of a conversation are to be removed.
type Clear struct {
	Before time.Time `json:"before,omitzero" doc:"Those that were stored before then; left out for all"`
}

// Cleared is what was removed of a conversation, and what was not.
type Cleared struct {
	Messages    int `json:"messages" doc:"Removed"`
	Undelivered int `json:"undelivered,omitempty" doc:"Stay because they are in the outbox"`
	InTransfer  int `json:"in_transfer,omitempty" doc:"Stay because their file is on its way"`
	Awaited     int `json:"awaited,omitempty" doc:"Stay because a consumer of the event log has not dealt with them, or the account was too busy"`
	// By is "" when the account was too busy.
	By string `json:"waits_for,omitempty" doc:"That consumer"`
	// Text is left to the API.
	Text string `json:"text" doc:"The same as a sentence"`
}

// Report is what the passes have done since the start.
type Report struct {
	Last     time.Time `json:"last_pass,omitzero"` // its end
	Messages uint64    `json:"messages" doc:"Removed since the start"`
	Events   uint64    `json:"events" doc:"Removed since the start"`
	Holders  []string  `json:"waits_for,omitempty" doc:"Consumers of the event log that keep something from being removed"`
	Error    string    `json:"error,omitempty" doc:"Why the last pass ended early"`
}

// Service removes what is not wanted. It is safe for concurrent use.
type Service struct {
	deps Deps

	mu     sync.Mutex
	report Report
	// through is up to where nothing is left in a conversation that could expire.
	through map[store.Conversation]uint64
}

// New returns a service.
func New(deps Deps) *Service {
	return &Service{deps: deps, through: make(map[store.Conversation]uint64)}
}

// Report returns what the passes have done.
func (s *Service) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report
}

func (s *Service) consumers(account store.Account) (store.Consumers, error) {
	c := store.Consumers{Ignore: append([]string(nil), s.deps.Policy.Ignore...), WholeLog: slices.Concat(s.deps.WholeLog, s.deps.Policy.WholeLog)}
	if account.ForwardTo.IsZero() {
		c.Ignore = append(c.Ignore, s.deps.WholeLog...) // nothing is forwarded; the cursor begins anew when it is
	}
	if s.deps.Only == nil {
		return c, nil
	}
	var err error
	c.Only, err = s.deps.Only(account.ID)
	return c, err
}

// Clear removes the messages of a conversation that were stored before a time. It blocks
// as long as that takes; what it has removed stays removed when ctx ends.
//
// Errors: store.ErrNotFound, and those of the store.
func (s *Service) Clear(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, before store.Millis) (Cleared, error) {
	a, err := s.deps.Store.Account(account)
	if err != nil {
		return Cleared{}, err
	}
	return s.clear(ctx, a, conversation, before, 0)
}

func (s *Service) clear(ctx context.Context, a store.Account, conversation store.ConversationID, before store.Millis, after uint64) (Cleared, error) {
	var done Cleared
	through := after
	whole := true
	for busy := 0; ; {
		if err := ctx.Err(); err != nil {
			return done, err
		}
		consumers, err := s.consumers(a)
		if err != nil {
			return done, err
		}
		found, err := s.deps.Store.Expirable(a.ID, conversation, before, after, consumers)
		if err != nil {
			return done, err
		}
		result := store.Expired{}
		if len(found.Orders) > 0 {
			op := store.ExpireMessages{Account: a.ID, Conversation: conversation, Orders: found.Orders, Seq: found.Seq}
			if result, err = store.Do[store.Expired](ctx, s.deps.Writer(), op); err != nil {
				return done, err
			}
		}
		if result.Busy && busy < busyRetries {
			busy++
			continue
		}
		if whole && !result.Busy {
			through = max(through, found.Through)
		}
		done.Messages += result.Count
		done.Undelivered += found.Undelivered
		done.InTransfer += found.InTransfer
		if found.Awaited > 0 {
			done.Awaited, done.By = done.Awaited+found.Awaited, found.By
		}
		if result.Busy { // the next pass does it
			done.Awaited += len(found.Orders)
		}
		whole = whole && !result.Busy && found.Undelivered == 0 && found.InTransfer == 0 && found.Awaited == 0
		if found.Next == 0 {
			s.mu.Lock()
			s.through[store.Conversation{Account: a.ID, ID: conversation}] = through
			s.mu.Unlock()
			return done, nil
		}
		after, busy = found.Next, 0
	}
}

// pass does what the policy says, over everything.
func (s *Service) pass(ctx context.Context) error {
	accounts, err := s.deps.Store.Accounts()
	if err != nil {
		return err
	}
	holders := make(map[string]struct{})
	for _, a := range accounts {
		if err = s.passAccount(ctx, a, holders); err != nil {
			break
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Last, s.report.Error, s.report.Holders = s.deps.Now(), "", nil
	if err != nil {
		s.report.Error = err.Error()
	}
	for name := range holders {
		if len(s.report.Holders) < maxHolders {
			s.report.Holders = append(s.report.Holders, name)
		}
	}
	return err
}

func (s *Service) passAccount(ctx context.Context, a store.Account, holders map[string]struct{}) error {
	contacts, err := s.deps.Store.Contacts(a.ID)
	if err != nil {
		return err
	}
	conversations := make([]store.ConversationID, 0, len(contacts))
	for _, c := range contacts {
		conversations = append(conversations, store.ContactConversation(c.ID))
	}
	groups, err := s.deps.Store.Groups(a.ID)
	if err != nil {
		return err
	}
	for _, g := range groups {
		conversations = append(conversations, g.ID)
	}
	for _, conversation := range conversations {
		period := s.deps.Policy.of(conversation)
		if period <= 0 {
			continue
		}
		s.mu.Lock()
		after := s.through[store.Conversation{Account: a.ID, ID: conversation}]
		s.mu.Unlock()
		done, err := s.clear(ctx, a, conversation, s.before(period), after)
		s.count(done.Messages, 0)
		if done.By != "" {
			holders[done.By] = struct{}{}
		}
		if err != nil && !errors.Is(err, store.ErrNotFound) { // removed meanwhile
			return err
		}
	}
	if s.deps.Policy.Events <= 0 {
		return nil
	}
	return s.trim(ctx, a, holders)
}

// trim removes the oldest events of an account.
func (s *Service) trim(ctx context.Context, a store.Account, holders map[string]struct{}) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		consumers, err := s.consumers(a)
		if err != nil {
			return err
		}
		events, by, err := s.deps.Store.Trimmable(a.ID, s.before(s.deps.Policy.Events), consumers)
		if err != nil {
			return err
		}
		if by != "" {
			holders[by] = struct{}{}
		}
		if len(events) == 0 {
			return nil
		}
		result, err := store.Do[store.Expired](ctx, s.deps.Writer(), store.TrimEvents{Account: a.ID, Events: events})
		s.count(0, result.Count)
		if errors.Is(err, store.ErrNotFound) || errors.Is(err, store.ErrInvalid) {
			return nil // the account was removed meanwhile
		}
		if err != nil {
			return err
		}
	}
}

func (s *Service) before(period time.Duration) store.Millis {
	return store.MillisOf(s.deps.Now().Add(-period))
}

func (s *Service) count(messages, events int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.report.Messages += uint64(messages)
	s.report.Events += uint64(events)
}

// actor makes the passes.
type actor struct{ service *Service }

// due is the actor's own: it is time for a pass.
type due struct{}

// NewActor returns the actor of a service.
func NewActor(s *Service) kernel.Actor { return &actor{s} }

// Started implements kernel.Starter.
func (a *actor) Started(c *kernel.Context) error {
	if !a.service.deps.Policy.IsZero() {
		c.After(startDelay, due{})
	}
	return nil
}

// Receive implements kernel.Actor.
func (a *actor) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case due:
		c.Go("pass", a.service.pass)
	case kernel.TaskDone:
		if msg.Err != nil {
			c.Log().Warn("retention pass ended early", "err", msg.Err, "retry_in", interval)
		}
		c.After(interval, due{})
	}
}

// String says what was removed, for people.
func (c Cleared) String() string {
	text := fmt.Sprintf("%d messages removed", c.Messages)
	if c.Undelivered > 0 {
		text += fmt.Sprintf("; %d stay because they are undelivered", c.Undelivered)
	}
	if c.InTransfer > 0 {
		text += fmt.Sprintf("; %d stay because their file is on its way", c.InTransfer)
	}
	if c.Awaited > 0 && c.By != "" {
		text += fmt.Sprintf("; %d stay until %s has them", c.Awaited, c.By)
	} else if c.Awaited > 0 {
		text += fmt.Sprintf("; %d stay because the account was too busy", c.Awaited)
	}
	return text
}
