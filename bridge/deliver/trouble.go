// SPDX-License-Identifier: MPL-2.0

package deliver

import (
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// troubleAfter is how long deliveries of a conversation fail before its user is told.
	troubleAfter = time.Minute
	// troubleFresh is how recent a failure must be to be told. An older one is confirmed
	// first by another attempt: the homeserver may have recovered.
	troubleFresh = 15 * time.Second
	// maxWaiting bounds the conversations that Waiting returns.
	maxWaiting = 100

	// NoAnswer says, to people, that a homeserver does not answer.
	NoAnswer = "your homeserver does not answer"
)

// Trouble is a conversation whose events do not reach their room.
type Trouble struct {
	At *Position
	// Err is the last failure, nil while the first attempt has had no answer at all.
	Err error
	// Since is when the first of the failed attempts began; zero means no trouble.
	Since time.Time
}

// trouble returns the zero value when there is none. It is called under Deliverer.mu.
func (at *Position) trouble() Trouble {
	switch {
	case at.err != nil:
		return Trouble{At: at, Err: at.err, Since: at.since}
	case at.running && time.Since(at.began) > troubleAfter:
		return Trouble{At: at, Since: at.began}
	default:
		return Trouble{}
	}
}

// Troubles returns the conversations of which users have to be told, and those that are
// well again after their users were told. lastAnswer is when the homeserver last answered
// a request well: while it answers nothing, nobody can be told.
func (d *Deliverer) Troubles(lastAnswer time.Time) (bad []Trouble, well []*Position) {
	d.mu.Lock()
	defer d.mu.Unlock()
	now := time.Now()
	for _, at := range d.known {
		t := at.trouble()
		if t.Since.IsZero() {
			if at.told {
				well = append(well, at)
			}
			continue
		}
		if at.told || now.Sub(t.Since) < troubleAfter || lastAnswer.Before(at.began) {
			continue
		}
		if !at.running && now.Sub(at.ended) > troubleFresh {
			if now.Sub(at.confirmed) > troubleAfter {
				at.confirmed = now
				d.retry(at)
			}
			continue
		}
		bad = append(bad, t)
	}
	return bad, well
}

// SetTold notes whether the users know that conversations are in trouble.
func (d *Deliverer) SetTold(positions []*Position, told bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range positions {
		at.told = told
	}
}

// ToldTroubles returns the troubles of an account that its user was told of.
func (d *Deliverer) ToldTroubles(account identity.PublicKey) (told []Trouble) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, at := range d.known {
		if t := at.trouble(); at.Account == account && at.told && !t.Since.IsZero() {
			told = append(told, t)
		}
	}
	return told
}

// TroubleOf returns the trouble of a conversation, the zero value when nothing has failed.
func (d *Deliverer) TroubleOf(conversation store.Conversation) Trouble {
	d.mu.Lock()
	defer d.mu.Unlock()
	if at := d.known[conversation]; at != nil {
		return at.trouble()
	}
	return Trouble{}
}

// Waiting is a conversation with events that are not in their room yet.
type Waiting struct {
	Account identity.PublicKey `json:"account"`
	// Contact is whose conversation it is, or Group.
	Contact identity.PublicKey   `json:"contact,omitzero"`
	Group   store.ConversationID `json:"group,omitzero"`
	// Events is how many.
	Events int `json:"events"`
	// Error is why the first of them is not, when that was tried, and Since when.
	Error string    `json:"error,omitempty"`
	Since time.Time `json:"since,omitzero"`
	// Name is the name of the contact or group, Room where the events belong, empty when there is
	// no room yet, and Remedy what to do. The connector fills them in when there is an
	// Error.
	Name   string    `json:"name,omitempty"`
	Room   id.RoomID `json:"room,omitempty"`
	Remedy string    `json:"remedy,omitempty"`
}

// Conversation returns whose events wait.
func (w Waiting) Conversation() store.Conversation {
	if !w.Group.IsZero() {
		return store.Conversation{Account: w.Account, ID: w.Group}
	}
	return store.ConversationWith(w.Account, w.Contact)
}

// Waiting returns the number of logins, the number of conversations with undelivered
// events, and up to 100 of those: failing ones first. It reads the store.
func (d *Deliverer) Waiting() (logins, conversations int, list []Waiting) {
	accounts := d.Attached()
	var failing, others []Waiting
	for _, account := range accounts {
		pending, err := d.deps.Node.Pending(Consumer, account)
		if err != nil {
			continue
		}
		conversations += len(pending)
		for _, p := range pending {
			t := d.TroubleOf(store.Conversation{Account: account, ID: p.Conversation})
			if t.Since.IsZero() && len(others) >= maxWaiting || len(failing) >= maxWaiting {
				continue
			}
			w := Waiting{Account: account, Contact: p.Conversation.Contact()}
			if p.Conversation.Kind() == store.KindGroup {
				w.Group = p.Conversation
			}
			if n, err := d.deps.Node.CountConversationEvents(account, p.Conversation, p.Cursor); err == nil {
				w.Events = n
			}
			if t.Since.IsZero() {
				others = append(others, w)
				continue
			}
			w.Since, w.Error = t.Since, NoAnswer
			if t.Err != nil {
				w.Error = fault.OneLine(t.Err)
			}
			failing = append(failing, w)
		}
	}
	list = append(failing, others...)
	return len(accounts), conversations, list[:min(len(list), maxWaiting)]
}
