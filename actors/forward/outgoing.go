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

// clockTolerance is by how much the clock of a member may be behind ours.
const clockTolerance store.Millis = 10 * 60 * 1000

// forwardLane returns the conversation of an event: messages of one conversation are
// forwarded in their order.
func forwardLane(e store.Event) (store.ConversationID, error) { return e.Conversation, nil }

// forwardEvent queues for the phone what an event of the account's log says, if anything.
func (l link) forwardEvent(ctx context.Context, e store.Event, attempt int) (queued bool, err error) {
	if e.Conversation.Contact() == l.home {
		return false, nil // what came from home was forwarded before
	}
	switch e.Kind {
	case store.MessageReceived, store.MediaChanged:
		if e.Message.Dir != store.In {
			return false, nil
		}
	case store.MessageFailed:
	default:
		return false, nil
	}
	account, err := l.deps.Store.Account(l.account)
	if err != nil {
		return false, fmt.Errorf("read account: %w", err)
	}
	if e.Conversation.Kind() == store.KindGroup && !account.ForwardGroups {
		return false, nil // the phone reads groups itself
	}
	if e.Kind == store.MessageFailed {
		return l.forwardFailure(ctx, e)
	}
	if account.Role == store.RoleMirror {
		return false, nil // its senders bring it to the phone themselves
	}
	m, err := l.deps.Store.Message(l.account, e.Conversation, e.Message)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // removed with its contact, or expired
	}
	if err != nil {
		return false, fmt.Errorf("read message: %w", err)
	}
	if m.Unreadable || m.Deleted {
		return false, nil
	}
	if old, err := l.isHistory(m); old || err != nil {
		return false, err
	}
	return l.forwardMessage(ctx, m, e.Kind == store.MessageReceived, attempt)
}

// isHistory reports whether a message was sent to a group before the account knew the group
// here: with a new group comes its whole history.
func (l link) isHistory(m store.Message) (bool, error) {
	if m.Conversation.Kind() != store.KindGroup {
		return false, nil
	}
	g, err := l.deps.Store.Group(l.account, m.Conversation)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return false, fmt.Errorf("read group: %w", err)
	}
	return m.SendTime < g.Added-clockTolerance, nil
}

// forwardMessage forwards a message, or, when it was received before, its file.
func (l link) forwardMessage(ctx context.Context, m store.Message, received bool, attempt int) (queued bool, err error) {
	if eventlog.IsReaction(m) && received {
		return l.forwardReaction(ctx, m)
	}
	text, isText := eventlog.Text(m)
	if !eventlog.HasFile(m) && (!isText || !received) {
		return false, nil // says nothing outside of its conversation
	}
	name, err := l.author(m)
	if err != nil {
		return false, fmt.Errorf("read name: %w", err)
	}
	d := draft{kind: peer.MessageType(m.Type), sendTime: m.SendTime}
	if d.replyTo, err = l.onPhone(m.Conversation, m.ReplyTo); err != nil {
		return false, err
	}
	if eventlog.HasFile(m) {
		return l.forwardFile(ctx, m, d, name, received, attempt)
	}
	d.payload = []byte(wire.CutText(name+": "+text, wire.MaxControlPayload))
	return true, l.toPhone(ctx, l.sourceOf(message{m.Conversation, m.ID}), d)
}

func (l link) toPhone(ctx context.Context, source string, d draft) error {
	return l.queue(ctx, l.enqueue(l.home, l.phone(), source, d))
}

// forwardFile forwards a file. One that is on a file server is fetched from there by the
// phone. Of any other the phone gets a copy, now or when it is here; and a sentence in place
// of one that does not come here.
func (l link) forwardFile(ctx context.Context, m store.Message, d draft, name string, received bool, attempt int) (queued bool, err error) {
	a, err := peer.ParseAttachment(m.Payload)
	if err != nil {
		return false, nil //nolint:nilerr // of no use to a phone either
	}
	caption := name
	if a.Text != "" {
		caption += ": " + a.Text
	}
	caption = wire.CutText(caption, wire.MaxCaption)
	source := l.sourceOf(message{m.Conversation, m.ID})
	if a.Form == peer.FormServer && m.Conversation.Kind() == store.KindContact {
		if !received {
			return false, nil
		}
		a.Text = caption
		d.payload = a.AppendTo(nil)
		return true, l.toPhone(ctx, source, d)
	}
	info, err := l.deps.Files.State(m.Account, m.Conversation, m.ID)
	if errors.Is(err, store.ErrNotFound) || errors.Is(err, transfer.ErrNoMedia) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read file: %w", err)
	}
	if known, err := l.has(l.home, l.phone(), source); known || err != nil {
		return false, err // when it was here
	}
	var reason string
	switch info.State {
	case store.MediaStored:
		err := l.queueFile(ctx, l.enqueue(l.home, l.phone(), source, d), m, caption, attempt)
		if !errors.Is(err, errNoFile) {
			return true, err
		}
		reason = err.Error()
	case store.MediaFailed:
		reason = info.Reason
	case store.MediaOffered:
		if !received {
			return false, nil
		}
		reason = "it is fetched when somebody asks for it on the node"
	default:
		return false, nil // it comes, or was here
	}
	d.kind = peer.TypeText
	d.payload = []byte(wire.CutText(fmt.Sprintf("%s: [%s is not here: %s]", caption, info.Name, reason), wire.MaxControlPayload))
	return true, l.toPhone(ctx, source+noteEnding, d)
}

// forwardReaction tells the phone which reaction to a message counts, if the phone has the
// message. Home has one reaction to each: of several members of a group the phone is shown
// that of the latest.
func (l link) forwardReaction(ctx context.Context, m store.Message) (queued bool, err error) {
	r, ok := eventlog.Reaction(m)
	if !ok {
		return false, nil
	}
	target, err := l.onPhone(m.Conversation, int64(r.Target))
	if target == 0 || err != nil {
		return false, err
	}
	all, err := l.deps.Store.Reactions(l.account, m.Conversation, int64(r.Target))
	if err != nil {
		return false, fmt.Errorf("read reactions: %w", err)
	}
	var latest store.Reaction
	for _, one := range all {
		if one.Dir == store.In && one.SendTime >= latest.SendTime {
			latest = one
		}
	}
	return true, l.toPhone(ctx, l.sourceOf(message{m.Conversation, m.ID}), reactionTo(target, latest.Emoji, m.Created))
}

func reactionTo(target int64, emoji string, sendTime store.Millis) draft {
	return draft{
		kind: peer.TypeReaction, replyTo: target, sendTime: sendTime,
		payload:  peer.Reaction{Emoji: emoji, Target: peer.GUID(target)}.AppendTo(nil),
		reaction: &store.ReactionTo{Target: target, Emoji: emoji},
	}
}

// forwardFailure tells the phone that an answer was given up.
func (l link) forwardFailure(ctx context.Context, e store.Event) (queued bool, err error) {
	answer, ours, err := l.answered(e.Conversation, e.Message.GUID)
	if !ours || err != nil {
		return false, err
	}
	name, err := l.name(e.Conversation)
	if err != nil {
		return false, fmt.Errorf("read name: %w", err)
	}
	return l.note(ctx, answer.GUID, e.Time, "failed", fmt.Sprintf("Not delivered to %s: %s.", name, e.Reason))
}
