// SPDX-License-Identifier: MPL-2.0

package forward

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// link is an account and the account that forwards for it. It knows which message on one
// side is which on the other: the source of a message that was queued here names the one
// that it was made of.
//
//	hand-over:ACCOUNT:CONVERSATION:MESSAGE[:note]    of home's messages to the phone
//	answer-note:ACCOUNT:REASON:PERIOD:NUMBER         of home's own sentences
//	answer:HOME:MESSAGE                              of the account's messages to people
type link struct {
	deps          *Deps
	account, home identity.PublicKey
}

const (
	forwardSource = "hand-over"
	answerSource  = "answer"
	noteSource    = "answer-note"
	noteEnding    = ":note"
)

// message names a message of the account.
type message struct {
	conversation store.ConversationID
	id           store.MessageID
}

// phone is the conversation of home with the phone.
func (l link) phone() store.ConversationID { return store.ContactConversation(l.account) }

// sourceOf is the source of the message that forwards m.
func (l link) sourceOf(m message) string {
	return fmt.Sprintf("%s:%s:%s:%s", forwardSource, l.account, m.conversation, m.id)
}

// answerSourceOf is the source of the message of the account that an answer of the phone
// becomes.
func (l link) answerSourceOf(answer store.MessageID) string {
	return fmt.Sprintf("%s:%s:%s", answerSource, l.home, answer)
}

// guidOf derives the guid of a message from its source, as the node does.
func guidOf(account identity.PublicKey, conversation store.ConversationID, source string) int64 {
	if contact := conversation.Contact(); !contact.IsZero() {
		return int64(peer.DeriveGUID(account[:], contact[:], []byte(source)))
	}
	return int64(peer.DeriveGUID(account[:], conversation[:], []byte(source)))
}

// has reports whether a message was queued for a source.
func (l link) has(account identity.PublicKey, conversation store.ConversationID, source string) (bool, error) {
	known, err := l.source(account, conversation, guidOf(account, conversation, source))
	return known == source, err
}

// source returns the source of a message that was queued here, "" for none.
func (l link) source(account identity.PublicKey, conversation store.ConversationID, guid int64) (string, error) {
	source, err := l.deps.Store.MessageSource(account, conversation, store.MessageID{Dir: store.Out, GUID: guid})
	if errors.Is(err, store.ErrNotFound) {
		return "", nil
	}
	return source, err
}

// original returns the message that home has forwarded under a guid; false when it has
// forwarded none.
func (l link) original(guid int64) (message, bool, error) {
	source, err := l.source(l.home, l.phone(), guid)
	if err != nil {
		return message{}, false, err
	}
	rest, ours := strings.CutPrefix(source, fmt.Sprintf("%s:%s:", forwardSource, l.account))
	conversation, id, found := strings.Cut(strings.TrimSuffix(rest, noteEnding), ":")
	if !ours || !found {
		return message{}, false, nil
	}
	var m message
	if m.conversation, err = store.ParseConversationID(conversation); err == nil {
		m.id, err = store.ParseMessageID(id)
	}
	if err != nil {
		return message{}, false, fmt.Errorf("source of a forwarded message: %w: %w", store.ErrCorrupt, err)
	}
	return m, true, nil
}

// answered returns the message of the phone that the account's message with a guid was made
// of; false when it was made of none.
func (l link) answered(conversation store.ConversationID, guid int64) (store.MessageID, bool, error) {
	source, err := l.source(l.account, conversation, guid)
	if err != nil {
		return store.MessageID{}, false, err
	}
	text, ours := strings.CutPrefix(source, fmt.Sprintf("%s:%s:", answerSource, l.home))
	if !ours {
		return store.MessageID{}, false, nil
	}
	id, err := store.ParseMessageID(text)
	if err != nil {
		return store.MessageID{}, false, fmt.Errorf("source of an answer: %w: %w", store.ErrCorrupt, err)
	}
	return id, true, nil
}

// onPhone returns the guid by which the phone knows a message of the account, 0 when it does
// not have it: one that was forwarded, or that the phone itself has answered.
func (l link) onPhone(conversation store.ConversationID, guid int64) (int64, error) {
	if guid == 0 {
		return 0, nil
	}
	source := l.sourceOf(message{conversation, store.MessageID{Dir: store.In, GUID: guid}})
	for _, s := range []string{source, source + noteEnding} {
		if known, err := l.has(l.home, l.phone(), s); known || err != nil {
			return guidOf(l.home, l.phone(), s), err
		}
	}
	answer, _, err := l.answered(conversation, guid)
	return answer.GUID, err
}

// name returns what a conversation of the account is called.
func (l link) name(conversation store.ConversationID) (string, error) {
	if conversation.Kind() == store.KindGroup {
		g, err := l.deps.Store.Group(l.account, conversation)
		if errors.Is(err, store.ErrNotFound) || err == nil && g.Name == "" {
			return conversation.Short(), nil
		}
		return g.Name, err
	}
	return l.contactName(conversation.Contact())
}

func (l link) contactName(id identity.PublicKey) (string, error) {
	c, err := l.deps.Store.Contact(l.account, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	c.ID = id
	return c.DisplayName(), nil
}

// author returns who has written a message, and in which group.
func (l link) author(m store.Message) (string, error) {
	if m.Conversation.Kind() != store.KindGroup {
		return l.contactName(m.Conversation.Contact())
	}
	group, err := l.name(m.Conversation)
	if err != nil {
		return "", err
	}
	name, err := l.memberName(m.Conversation, m.Author)
	return group + ", " + name, err
}

// memberName prefers what our user calls a member to what the member calls themselves.
func (l link) memberName(group store.ConversationID, id identity.PublicKey) (string, error) {
	_, err := l.deps.Store.Contact(l.account, id)
	if err == nil {
		return l.contactName(id)
	}
	if !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	member, err := l.deps.Store.Member(l.account, group, id)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return "", err
	}
	if member.Name == "" {
		return id.Short(), nil
	}
	return member.Name, nil
}

// draft is a message to be queued, without its source.
type draft struct {
	kind     peer.MessageType
	replyTo  int64
	sendTime store.Millis
	payload  []byte
	reaction *store.ReactionTo
}

func (l link) enqueue(account identity.PublicKey, conversation store.ConversationID, source string, d draft) store.EnqueueMessage {
	return store.EnqueueMessage{
		Account: account, Conversation: conversation, Source: source, GUID: guidOf(account, conversation, source),
		Type: int32(d.kind), ReplyTo: d.replyTo, SendTime: d.sendTime, Created: l.deps.nowMillis(), Payload: d.payload, Reaction: d.reaction,
	}
}

// queue puts a message into an outbox, once.
func (l link) queue(ctx context.Context, op store.EnqueueMessage) error {
	if _, err := store.Do[store.Enqueued](ctx, l.deps.Writer, op); err != nil {
		return fmt.Errorf("%w: %w", errRetry, err)
	}
	return nil
}

// errNoFile says that a file cannot be passed on, with the reason behind it.
var errNoFile = errors.New("the file cannot be forwarded")

// queueFile puts a message with the file of another one into an outbox. The file is in the
// media store. Its error is [errNoFile] when it is to be given up.
func (l link) queueFile(ctx context.Context, op store.EnqueueMessage, from store.Message, caption string, attempt int) error {
	err := l.copyFile(ctx, op, from, caption)
	switch {
	case err == nil, ctx.Err() != nil:
		return err
	case errors.Is(err, transfer.ErrFileEmpty), errors.Is(err, transfer.ErrFileTooLarge):
		return fmt.Errorf("%w: %w", errNoFile, err)
	case attempt >= maxFileAttempts && !errors.Is(err, media.ErrFull) && !errors.Is(err, media.ErrDiskFull) &&
		!errors.Is(err, store.ErrDiskFull) && !errors.Is(err, store.ErrOutboxFull):
		return fmt.Errorf("%w: %w", errNoFile, err)
	}
	return fmt.Errorf("%w: %w", errRetry, err)
}

func (l link) copyFile(ctx context.Context, op store.EnqueueMessage, from store.Message, caption string) (err error) {
	file, info, err := l.deps.Files.Open(from.Account, from.Conversation, from.ID)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	_, err = l.deps.Files.Send(ctx, op, transfer.File{
		Body: io.Reader(file), Name: info.Name, MIMEType: info.MIMEType, Caption: caption, Voice: info.Voice,
	})
	return err
}
