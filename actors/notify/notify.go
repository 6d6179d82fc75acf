// SPDX-License-Identifier: MPL-2.0

// Package notify tells people what they should know: that something has arrived, and that
// something is wrong with the node. Each sink, such as a phone or a mailbox, follows the
// event logs with a cursor of its own, in a goroutine of its own: one that hangs or fails
// holds up no other. A notification is sent at least once; one that cannot be sent for
// [GiveUp] is counted as dropped. What has gathered meanwhile, or in quiet hours, is one
// notification.
//
// The actor ([New]) is a part of the node, which the program builds. Start reading at
// [Deps], then sink.go.
package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// PartName is the name of the actor among the parts of a node.
	PartName = "notify"
	// GiveUp is how long a notification is retried.
	GiveUp = 24 * time.Hour
	// stateFile is in the data directory: which troubles were told.
	stateFile = "notify.json"
	// troubleEvery is how often the node is asked what is wrong.
	troubleEvery = time.Minute
	// sendTime is what one attempt may take.
	sendTime = 30 * time.Second
)

// Consumer is the name of a sink among the consumers of the event log. It has one cursor
// for each account.
func Consumer(sink string) string { return "notify-" + sink }

// Notification is what a sink tells.
type Notification struct {
	Kind  string    `json:"kind"` // message, request, invite, call, several, trouble, over or test
	Title string    `json:"title"`
	Text  string    `json:"text,omitempty"`
	Count int       `json:"count"`
	Time  time.Time `json:"time"` // of the oldest
}

// Node is what sinks read; *node.Node is one.
type Node interface {
	Accounts() ([]store.Account, error)
	Contact(account, contact identity.PublicKey) (store.Contact, error)
	Group(account identity.PublicKey, group store.ConversationID) (store.Group, error)
	ConversationMessage(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (store.Message, error)
	Events(account identity.PublicKey, after uint64, limit int) ([]store.Event, error)
	LastEvent(account identity.PublicKey) (uint64, error)
	Cursor(consumer string, account identity.PublicKey, conversation store.ConversationID) (uint64, error)
	MoveCursor(ctx context.Context, consumer string, account identity.PublicKey, conversation store.ConversationID, seq uint64) error
	WatchEvents() *store.Watch
}

// Trouble is something that is wrong with the node.
type Trouble struct {
	Code, Text string
	// After is how long it has to last before anybody is told.
	After time.Duration
}

// Deps is what the actor uses.
type Deps struct {
	// Dir is the data directory.
	Dir   string
	Node  Node
	Sinks []Sink
	// Troubles says what is wrong now. It may block as long as its context.
	Troubles func(context.Context) ([]Trouble, error)
}

// Status is how the sinks are.
type Status struct {
	Sinks []SinkStatus `json:"sinks"`
}

// SinkStatus is how one sink is.
type SinkStatus struct {
	Name     string    `json:"name"`
	Sent     uint64    `json:"sent" doc:"Notifications since the start"`
	Dropped  uint64    `json:"dropped,omitempty" doc:"Events that could not be told for a day, since the start"`
	Failures int       `json:"failures,omitempty" doc:"Attempts in a row that failed"`
	Error    string    `json:"error,omitempty" doc:"Why the last one failed"`
	Last     time.Time `json:"last_sent,omitzero"`
}

// StatusRequest asks the actor for its [Status].
type StatusRequest struct{}

// Actor owns the sinks.
type Actor struct {
	deps   Deps
	shared *shared
	sinks  []*follower
}

// shared is what the sinks have in common.
type shared struct {
	mu sync.Mutex
	// since is when each trouble began, current what is wrong now.
	since   map[string]time.Time
	current map[string]Trouble
	// told are the troubles that a sink has told, in the file.
	told map[string]map[string]string
}

// New returns an actor for the supervision tree.
func New(deps Deps) *Actor { return &Actor{deps: deps} }

// Started implements kernel.Starter.
func (a *Actor) Started(c *kernel.Context) error {
	a.shared = &shared{since: make(map[string]time.Time), told: make(map[string]map[string]string)}
	raw, err := os.ReadFile(filepath.Join(a.deps.Dir, stateFile))
	if err == nil {
		err = json.Unmarshal(raw, &a.shared.told)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		c.Log().Warn("record of notifications cannot be read, making one", "err", err)
	}
	if a.shared.told == nil {
		a.shared.told = make(map[string]map[string]string)
	}
	for _, sink := range a.deps.Sinks {
		f := &follower{sink: sink, node: a.deps.Node, log: c.Log(), shared: a.shared, dir: a.deps.Dir, at: make(map[identity.PublicKey]uint64)}
		f.status.Name = sink.Name
		a.sinks = append(a.sinks, f)
		c.Go(sink.Name, f.run)
	}
	c.Go("troubles", a.watchTroubles)
	return nil
}

// Receive implements kernel.Actor.
func (a *Actor) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case StatusRequest:
		s := Status{Sinks: []SinkStatus{}}
		for _, f := range a.sinks {
			s.Sinks = append(s.Sinks, f.now())
		}
		c.Reply(s)
	case kernel.TaskDone:
		c.Fail(msg.Err) // none of them ends
	}
}

// watchTroubles asks what is wrong, again and again.
func (a *Actor) watchTroubles(ctx context.Context) error {
	for {
		timer := time.NewTimer(troubleEvery)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
		}
		asked, cancel := context.WithTimeout(ctx, sendTime)
		found, err := a.deps.Troubles(asked)
		cancel()
		if err != nil {
			continue // the node does not answer, or stops: others notice that
		}
		a.shared.look(found, time.Now())
	}
}

func (s *shared) look(found []Trouble, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.current = make(map[string]Trouble)
	for _, t := range found {
		s.current[t.Code] = t
		if _, known := s.since[t.Code]; !known {
			s.since[t.Code] = now
		}
	}
	for code := range s.since {
		if _, still := s.current[code]; !still {
			delete(s.since, code)
		}
	}
}

// news returns what a sink has to tell of troubles: those that have lasted long enough,
// and those that are over.
func (s *shared) news(sink string, now time.Time) (begun []Trouble, over map[string]string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil { // nobody has looked yet
		return nil, nil
	}
	over = make(map[string]string)
	for code, text := range s.told[sink] {
		if _, still := s.current[code]; !still {
			over[code] = text
		}
	}
	for code, t := range s.current {
		if _, told := s.told[sink][code]; !told && now.Sub(s.since[code]) >= t.After {
			begun = append(begun, t)
		}
	}
	return begun, over
}

// tell records what a sink has told.
func (s *shared) tell(dir, sink string, begun []Trouble, over map[string]string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.told[sink] == nil {
		s.told[sink] = make(map[string]string)
	}
	for _, t := range begun {
		s.told[sink][t.Code] = t.Text
	}
	for code := range over {
		delete(s.told[sink], code)
	}
	raw, err := json.MarshalIndent(s.told, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(dir, stateFile), append(raw, '\n'))
}
