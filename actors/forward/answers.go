// SPDX-License-Identifier: MPL-2.0

package forward

import (
	"context"
	"errors"
	"fmt"

	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

const (
	// noteEvery and notesInPeriod bound what home says to the phone about answers that
	// go nowhere, for each reason.
	noteEvery     store.Millis = 10 * 60 * 1000
	notesInPeriod              = 5
)

// fileReason is the reason of a note about a file that the node does not get.
const fileReason = "file"

// Why an answer is sent to nobody. What a note is about is a part of its source.
const (
	unquoted = "Sent to nobody: this message does not say whom it answers. Reply to (quote) the forwarded message that you answer."
	misled   = "Sent to nobody: what this message quotes was not forwarded from anybody. Reply to (quote) the forwarded message that you answer."
	odd      = "Sent to nobody: only texts, files and reactions can be answers."
	edited   = "What you have changed in this message was not sent: the answer stays as it was."
	lastNote = " For some minutes nothing more is said about such messages."
)

// answerEvent sends what the phone has said to home to whom it is for.
func (l link) answerEvent(ctx context.Context, e store.Event, attempt int) (queued bool, err error) {
	switch e.Kind {
	case store.MessageReceived, store.MessageEdited, store.MediaChanged:
	default:
		return false, nil
	}
	if e.Message.Dir != store.In {
		return false, nil
	}
	m, err := l.deps.Store.Message(l.home, l.phone(), e.Message)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // removed with the contact, or expired
	}
	if err != nil {
		return false, fmt.Errorf("read answer: %w", err)
	}
	switch {
	case eventlog.IsReaction(m):
		return l.answerReaction(ctx, m)
	case e.Kind == store.MessageEdited:
		return l.answerEdit(ctx, m)
	case e.Kind == store.MediaChanged:
		return l.answerMessage(ctx, m, true, attempt)
	}
	return l.answerMessage(ctx, m, false, attempt)
}

// answerLane returns the conversation that an answer goes to, zero for what goes to nobody.
func (l link) answerLane(e store.Event) (store.ConversationID, error) {
	m, err := l.deps.Store.Message(l.home, l.phone(), e.Message)
	if errors.Is(err, store.ErrNotFound) {
		return store.ConversationID{}, nil
	}
	if err != nil {
		return store.ConversationID{}, fmt.Errorf("read answer: %w", err)
	}
	quoted := m.ReplyTo
	if r, ok := eventlog.Reaction(m); ok {
		quoted = int64(r.Target)
	}
	about, _, err := l.original(quoted)
	return about.conversation, err
}

// answerMessage sends a text or a file to the conversation of the message that it quotes.
// later says that its file is in another state than when it came.
func (l link) answerMessage(ctx context.Context, m store.Message, later bool, attempt int) (queued bool, err error) {
	about, found, err := l.original(m.ReplyTo)
	if err != nil {
		return false, err
	}
	switch text, isText := eventlog.Text(m); {
	case later && !found:
		return false, nil // that was said when it came
	case !isText && !eventlog.HasFile(m):
		return l.note(ctx, m.ID.GUID, m.Created, "kind", odd)
	case m.ReplyTo == 0:
		return l.note(ctx, m.ID.GUID, m.Created, "unquoted", unquoted)
	case !found:
		return l.note(ctx, m.ID.GUID, m.Created, "misled", misled)
	case isText:
		return l.send(ctx, m, about, draft{kind: peer.TypeText, replyTo: about.id.GUID, sendTime: m.SendTime, payload: []byte(text)})
	}
	return l.answerFile(ctx, m, about, later, attempt)
}

// send queues an answer, unless the account may not write there.
func (l link) send(ctx context.Context, m store.Message, about message, d draft) (queued bool, err error) {
	op := l.enqueue(l.account, about.conversation, l.answerSourceOf(m.ID), d)
	if done, err := l.answeredBefore(op, m); done || err != nil {
		return false, err
	}
	if refused, err := l.refused(about.conversation); refused != "" || err != nil {
		return refused != "", errors.Join(err, l.noteRefused(ctx, m, about, refused))
	}
	return true, l.queue(ctx, op)
}

// answeredBefore reports whether an answer was queued already, or the phone was told that it
// was not sent. Both happen when an event is dealt with again after a restart.
func (l link) answeredBefore(op store.EnqueueMessage, m store.Message) (bool, error) {
	if known, err := l.has(op.Account, op.Conversation, op.Source); known || err != nil {
		return known, err
	}
	for _, reason := range []string{fileReason, op.Conversation.String()} {
		if _, said, err := l.notes(m.ID.GUID, m.Created, reason); said || err != nil {
			return said, err
		}
	}
	return false, nil
}

// refused says why the account may not write in a conversation, "" when it may.
func (l link) refused(conversation store.ConversationID) (string, error) {
	if conversation.Kind() == store.KindGroup {
		g, err := l.deps.Store.Group(l.account, conversation)
		switch {
		case errors.Is(err, store.ErrNotFound):
			return "is not on the node any more", nil
		case err != nil:
			return "", fmt.Errorf("read group: %w", err)
		case !g.State.IsActive():
			return "is a group that you are not a member of", nil
		case g.State == store.GroupReadOnly:
			return "is a group in which you may only read", nil
		case g.Key.IsZero():
			return "is a group whose key is missing on the node", nil
		}
		return "", nil
	}
	c, err := l.deps.Store.Contact(l.account, conversation.Contact())
	switch {
	case errors.Is(err, store.ErrNotFound):
		return "is not a contact any more", nil
	case err != nil:
		return "", fmt.Errorf("read contact: %w", err)
	case c.State == store.ContactBlocked:
		return "is blocked", nil
	}
	return "", nil
}

func (l link) noteRefused(ctx context.Context, m store.Message, about message, refused string) error {
	if refused == "" {
		return nil
	}
	name, err := l.name(about.conversation)
	if err != nil {
		return fmt.Errorf("read name: %w", err)
	}
	_, err = l.note(ctx, m.ID.GUID, m.Created, about.conversation.String(), fmt.Sprintf("Not sent: %s %s.", name, refused))
	return err
}

// answerFile sends a copy of a file when it is here. It asks for one of any size that is
// not fetched by itself.
func (l link) answerFile(ctx context.Context, m store.Message, about message, later bool, attempt int) (queued bool, err error) {
	op := l.enqueue(l.account, about.conversation, l.answerSourceOf(m.ID), draft{replyTo: about.id.GUID, sendTime: m.SendTime})
	if done, err := l.answeredBefore(op, m); done || err != nil {
		return false, err
	}
	if refused, err := l.refused(about.conversation); refused != "" || err != nil {
		return refused != "", errors.Join(err, l.noteRefused(ctx, m, about, refused))
	}
	info, err := l.deps.Files.State(m.Account, m.Conversation, m.ID)
	if errors.Is(err, transfer.ErrNoMedia) {
		return l.note(ctx, m.ID.GUID, m.Created, "kind", odd)
	}
	if err != nil {
		return false, fmt.Errorf("read file: %w", err)
	}
	switch info.State {
	case store.MediaStored:
		err := l.queueFile(ctx, op, m, info.Caption, attempt)
		if errors.Is(err, errNoFile) {
			return l.noteFile(ctx, m, err.Error())
		}
		return true, err
	case store.MediaFailed:
		return l.noteFile(ctx, m, info.Reason)
	case store.MediaOffered:
		if later {
			return false, nil
		}
		if _, err := l.deps.Files.Fetch(ctx, m.Account, m.Conversation, m.ID); err != nil {
			return false, fmt.Errorf("%w: %w", errRetry, err)
		}
	}
	return false, nil // it comes, or was here
}

func (l link) noteFile(ctx context.Context, m store.Message, reason string) (bool, error) {
	text := fmt.Sprintf("Not sent: the node does not get this file (%s). Send it again, with the same quote.", reason)
	return l.note(ctx, m.ID.GUID, m.Created, fileReason, text)
}

// answerReaction makes a reaction of the phone the account's own. One to what was not
// forwarded says nothing to anybody.
func (l link) answerReaction(ctx context.Context, m store.Message) (queued bool, err error) {
	r, ok := eventlog.Reaction(m)
	if !ok {
		return false, nil
	}
	about, found, err := l.original(int64(r.Target))
	if !found || err != nil {
		return false, err
	}
	return l.send(ctx, m, about, reactionTo(about.id.GUID, r.Emoji, m.SendTime))
}

// answerEdit says that a changed answer stays as it was. No app can be told of a change.
func (l link) answerEdit(ctx context.Context, m store.Message) (queued bool, err error) {
	about, found, err := l.original(m.ReplyTo)
	if !found || err != nil {
		return false, err
	}
	sent, err := l.has(l.account, about.conversation, l.answerSourceOf(m.ID))
	if !sent || err != nil {
		return false, err
	}
	return l.note(ctx, m.ID.GUID, m.Created, "edited", edited)
}

// note has home say something about a message of the phone, once for each, and at most
// notesInPeriod times within noteEvery for the same reason. The last one says so.
func (l link) note(ctx context.Context, about int64, at store.Millis, reason, text string) (queued bool, err error) {
	n, said, err := l.notes(about, at, reason)
	if said || err != nil || n == notesInPeriod {
		return false, err
	}
	if n == notesInPeriod-1 {
		text += lastNote
	}
	return true, l.toPhone(ctx, l.noteSourceOf(at, reason, n), draft{
		kind: peer.TypeText, replyTo: about, sendTime: l.deps.nowMillis(), payload: []byte(wire.CutText(text, wire.MaxControlPayload)),
	})
}

// notes returns how many notes there are for a reason in the period of at, and whether one of
// them is about that message.
func (l link) notes(about int64, at store.Millis, reason string) (n int, said bool, err error) {
	for n = range notesInPeriod {
		guid := guidOf(l.home, l.phone(), l.noteSourceOf(at, reason, n))
		note, err := l.deps.Store.Message(l.home, l.phone(), store.MessageID{Dir: store.Out, GUID: guid})
		switch {
		case errors.Is(err, store.ErrNotFound):
			return n, false, nil
		case err != nil:
			return n, false, fmt.Errorf("read note: %w", err)
		case note.ReplyTo == about:
			return n, true, nil
		}
	}
	return notesInPeriod, false, nil
}

func (l link) noteSourceOf(at store.Millis, reason string, n int) string {
	return fmt.Sprintf("%s:%s:%s:%d:%d", noteSource, l.account, reason, at/noteEvery, n)
}
