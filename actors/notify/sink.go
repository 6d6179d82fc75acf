// SPDX-License-Identifier: MPL-2.0

package notify

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// page is how many events are looked at, and become one notification at most.
	page = 200
	// listed is how many of them a notification of several names.
	listed = 5
	// maxText bounds the text of a message in a notification, in characters.
	maxText = 200
	// lazyCursor is how many events a sink that tells nothing may be ahead of its cursor, while
	// there are new ones; when nothing has happened for a while, the cursor follows.
	lazyCursor = 100
)

// retry is the pause after failures in a row.
var retry = kernel.Backoff{Min: 10 * time.Second, Max: 30 * time.Minute}

// Sink is one way to tell a person.
type Sink struct {
	// Name tells it from others: 1 to 32 letters, digits and dashes.
	Name string
	// Send tells it. It may block as long as its context.
	Send func(context.Context, Notification) error
	// Accounts and Contacts are those whose events are told, empty for all; Kinds are of
	// message, request, invite, call and trouble, empty for all.
	Accounts, Contacts []identity.PublicKey
	Kinds              []string
	// Content tells what messages say, and who wrote them. Without it only that there is
	// something.
	Content bool
	Quiet   Quiet
}

// Quiet are hours of the day in which nothing is told; both 0 for none.
type Quiet struct{ From, Until time.Duration }

// left returns how long it is still quiet, 0 when it is not.
func (q Quiet) left(now time.Time) time.Duration {
	if q.From == q.Until {
		return 0
	}
	const day = 24 * time.Hour
	hour, minute, second := now.Clock()
	at := time.Duration(hour)*time.Hour + time.Duration(minute)*time.Minute + time.Duration(second)*time.Second
	// In hours that begin at From.
	length, into := (q.Until-q.From+day)%day, (at-q.From+day)%day
	return max(length-into, 0)
}

func (s *Sink) wants(kind string) bool { return len(s.Kinds) == 0 || slices.Contains(s.Kinds, kind) }

// follower is the goroutine of a sink.
type follower struct {
	sink   Sink
	node   Node
	log    *slog.Logger
	shared *shared
	dir    string
	at     map[identity.PublicKey]uint64 // how far each log was looked at

	pause time.Time // until then nothing is sent, after a failure

	mu     sync.Mutex
	status SinkStatus
}

func (f *follower) now() SinkStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// run follows the logs until ctx ends.
func (f *follower) run(ctx context.Context) error {
	watch := f.node.WatchEvents()
	defer watch.Close()
	for idle := false; ; {
		wait := f.look(ctx, idle)
		idle = false
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-timer.C:
			idle = true
		case <-watch.C():
			timer.Stop()
			watch.Take()
		}
	}
}

// look sends a notification of the new events, and returns how long to wait for the next
// call unless there are newer ones. idle says that there were none since the last call.
func (f *follower) look(ctx context.Context, idle bool) time.Duration {
	now := time.Now()
	if left := max(f.sink.Quiet.left(now), f.pause.Sub(now)); left > 0 {
		return left
	}
	accounts, err := f.node.Accounts()
	if err != nil {
		f.log.Warn("notifications wait, accounts cannot be read", "err", err)
		return troubleEvery
	}
	for _, a := range accounts {
		if len(f.sink.Accounts) > 0 && !slices.Contains(f.sink.Accounts, a.ID) {
			continue
		}
		for more := true; more && ctx.Err() == nil; {
			if more, err = f.account(ctx, a, idle); err != nil {
				return f.failed(ctx, err)
			}
		}
	}
	if err := f.troubles(ctx); err != nil {
		return f.failed(ctx, err)
	}
	return troubleEvery
}

// failed notes an attempt that failed and returns the pause.
func (f *follower) failed(ctx context.Context, err error) time.Duration {
	if ctx.Err() != nil {
		return troubleEvery
	}
	f.mu.Lock()
	pause := retry.Delay(f.status.Failures)
	f.status.Failures++
	f.status.Error = err.Error()
	failures := f.status.Failures
	f.mu.Unlock()
	f.pause = time.Now().Add(pause)
	f.log.Warn("notification not sent", "sender", f.sink.Name, "err", err, "failures", failures, "retry_in", pause)
	return pause
}

func (f *follower) send(ctx context.Context, n Notification) error {
	ctx, cancel := context.WithTimeout(ctx, sendTime)
	defer cancel()
	if err := f.sink.Send(ctx, n); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status.Sent++
	f.status.Failures, f.status.Error, f.status.Last = 0, "", time.Now()
	return nil
}

// account tells what is new in one account, and reports whether there may be more.
func (f *follower) account(ctx context.Context, a store.Account, idle bool) (more bool, err error) {
	consumer := Consumer(f.sink.Name)
	saved, err := f.node.Cursor(consumer, a.ID, store.ConversationID{})
	if err != nil {
		return false, err
	}
	if saved == 0 { // what was before the sink is not told
		last, err := f.node.LastEvent(a.ID)
		if err != nil || last == 0 {
			return false, err
		}
		return false, f.node.MoveCursor(ctx, consumer, a.ID, store.ConversationID{}, last)
	}
	after := max(f.at[a.ID], saved)
	events, err := f.node.Events(a.ID, after, page)
	if err == nil && len(events) == 0 && idle && after > saved {
		// Nothing keeps what the sink has seen, such as messages that are to be removed.
		return false, f.node.MoveCursor(ctx, consumer, a.ID, store.ConversationID{}, after)
	}
	if err != nil || len(events) == 0 {
		return false, err
	}
	var found []item
	for _, e := range events {
		if it, tell := f.item(a, e); tell {
			found = append(found, it)
		}
	}
	last := events[len(events)-1].Seq
	if len(found) > 0 {
		err := f.send(ctx, f.notification(a, found))
		oldest := found[0].time
		if err != nil && time.Since(oldest) > GiveUp && ctx.Err() == nil {
			f.log.Error("notification dropped", "sender", f.sink.Name, "count", len(found), "err", err)
			f.mu.Lock()
			f.status.Dropped += uint64(len(found))
			f.mu.Unlock()
		} else if err != nil {
			return false, err
		}
	}
	if len(found) > 0 || last-saved >= lazyCursor {
		if err := f.node.MoveCursor(ctx, consumer, a.ID, store.ConversationID{}, last); err != nil {
			return false, err
		}
	}
	f.at[a.ID] = last
	return len(events) == page, nil
}

// item is one event that is told.
type item struct {
	kind, who, text string
	time            time.Time
}

// item returns what is told of an event; false for nothing.
func (f *follower) item(a store.Account, e store.Event) (item, bool) {
	it := item{time: e.Time.Time()}
	switch e.Kind {
	case store.MessageReceived:
		it.kind = "message"
	case store.RequestReceived:
		it.kind = "request"
	case store.InviteReceived:
		it.kind = "invite"
	case store.CallMissed:
		it.kind = "call"
	default:
		return it, false
	}
	if !f.sink.wants(it.kind) || !f.about(a, e, &it) {
		return it, false
	}
	switch it.kind {
	case "request":
		it.text = "asks to be a contact"
	case "invite":
		it.text = "an invite to the group"
	case "call":
		it.text = "has called"
	}
	return it, true
}

// about fills in who and what, and reports whether it is to be told: not for those who are
// muted or not wanted, nor for a message that is gone.
func (f *follower) about(a store.Account, e store.Event, it *item) bool {
	if e.Conversation.Kind() == store.KindGroup {
		g, err := f.node.Group(a.ID, e.Conversation)
		if err != nil || g.Muted || len(f.sink.Contacts) > 0 {
			return false
		}
		it.who = g.Name
	} else {
		contact := e.Conversation.Contact()
		c, err := f.node.Contact(a.ID, contact)
		if err != nil || c.Muted || len(f.sink.Contacts) > 0 && !slices.Contains(f.sink.Contacts, contact) {
			return false
		}
		it.who = c.DisplayName()
	}
	if it.kind != "message" {
		return true
	}
	m, err := f.node.ConversationMessage(a.ID, e.Conversation, e.Message)
	if err != nil {
		return false
	}
	text, isText := eventlog.Text(m)
	if !isText {
		text = "[" + eventlog.TypeName(m) + "]"
	}
	it.text = clip(text)
	return true
}

// notification makes one of all that is new.
func (f *follower) notification(a store.Account, found []item) Notification {
	n := Notification{Kind: "several", Count: len(found), Time: found[0].time}
	if len(found) == 1 {
		n.Kind = found[0].kind
	}
	switch {
	case !f.sink.Content && len(found) == 1:
		n.Title = "Mimir: something new for " + clip(a.Name)
		return n
	case !f.sink.Content:
		n.Title = fmt.Sprintf("Mimir: %d new for %s", len(found), clip(a.Name))
		return n
	case len(found) == 1:
		n.Title, n.Text = clip(found[0].who), found[0].text
		return n
	}
	n.Title = fmt.Sprintf("%d new for %s", len(found), clip(a.Name))
	var lines []string
	for _, it := range found[:min(len(found), listed)] {
		lines = append(lines, clip(it.who)+": "+it.text)
	}
	if more := len(found) - listed; more > 0 {
		lines = append(lines, fmt.Sprintf("and %d more", more))
	}
	n.Text = strings.Join(lines, "\n")
	return n
}

// clip makes one line of a text, not too long and without characters that steer.
func clip(text string) string {
	text = strings.Join(strings.FieldsFunc(text, func(r rune) bool {
		return r < ' ' || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
	}), " ")
	if runes := []rune(text); len(runes) > maxText {
		text = string(runes[:maxText]) + "…"
	}
	return text
}

// troubles tells what has gone wrong, and what is well again.
func (f *follower) troubles(ctx context.Context) error {
	if !f.sink.wants("trouble") {
		return nil
	}
	begun, over := f.shared.news(f.sink.Name, time.Now())
	if len(begun)+len(over) == 0 {
		return nil
	}
	slices.SortFunc(begun, func(a, b Trouble) int { return cmp.Compare(a.Code, b.Code) })
	n := Notification{Kind: "trouble", Title: "mimird needs attention", Count: len(begun) + len(over), Time: time.Now()}
	var lines []string
	for _, t := range begun {
		lines = append(lines, t.Text)
	}
	for _, code := range slices.Sorted(maps.Keys(over)) {
		lines = append(lines, "Over: "+over[code])
	}
	if len(begun) == 0 {
		n.Kind, n.Title = "over", "mimird is well again"
	}
	n.Text = strings.Join(lines, "\n")
	if err := f.send(ctx, n); err != nil {
		return err
	}
	return f.shared.tell(f.dir, f.sink.Name, begun, over)
}
