// SPDX-License-Identifier: MPL-2.0

package mediator

import (
	"bufio"
	"encoding/binary"
	"io"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Result is what a mediator answers to a request that it fulfils: one of the types
// below, or nothing.
type Result interface {
	appendTo(b []byte) []byte
	parse(b []byte) error
}

// Nonce answers [GetNonce].
type Nonce struct{ Nonce [32]byte }

// Chat answers [CreateChat].
type Chat struct{ Chat ChatID }

// Deleted answers [DeleteChat]. It is one byte and not a field.
type Deleted struct{}

// Chats answers [GetUserChats].
type Chats struct{ Chats []ChatID }

// Sent answers [SendMessage].
type Sent struct {
	// GUID is that of the request, or the one that the mediator took instead because
	// the request's belongs to another message. It names the message from now on.
	GUID    peer.GUID
	Message MessageID
}

// LastMessage answers [GetLastMessageID] and [Subscribe]; 0 when there is none.
type LastMessage struct{ Message MessageID }

// Messages answers [GetMessagesSince].
type Messages struct{ Messages []Message }

// Message is a message of a group as the mediator hands it out. Nothing but the
// mediator vouches for author, order and time.
type Message struct {
	ID     MessageID // 0 when the mediator does not store it
	GUID   peer.GUID
	Time   int64 // the sender's claim, Unix seconds
	Author identity.PublicKey
	Blob   []byte // sealed by package group; plain when the mediator is the author, see [System]
}

// MembersInfo answers [GetMembersInfo].
type MembersInfo struct{ Members []MemberInfo }

// MemberInfo is the profile of a member.
type MemberInfo struct {
	User identity.PublicKey
	Info []byte // group.AppendProfile, sealed; empty when there is none, or none newer than asked for
	Time int64  // Unix seconds
}

// Members answers [GetMembers]: everybody who is not banned.
type Members struct{ Members []Member }

// Member is one member of a group.
type Member struct {
	User        identity.PublicKey
	Permissions Permissions
	Online      bool  // some connection of the identity is subscribed to the group
	LastSeen    int64 // when the last subscribed connection ended, Unix seconds, 0 for never
}

func (r *Nonce) fields(f *fields) { f.fixed(tagNonce, "nonce", r.Nonce[:]) }

func (r *Chat) fields(f *fields) { f.chat(&r.Chat) }

func (r *Chats) fields(f *fields) {
	list(f, "chats", tagChat, &r.Chats, func(f *fields, c *ChatID) { f.chat(c) })
}

func (r *Sent) fields(f *fields) {
	number(f, tagGUID, "guid", &r.GUID)
	number(f, tagMessage, "message id", &r.Message)
}

func (r *LastMessage) fields(f *fields) { number(f, tagMessage, "message id", &r.Message) }

func (r *Messages) fields(f *fields) {
	list(f, "messages", tagMessage, &r.Messages, func(f *fields, m *Message) { m.fields(f) })
}

func (m *Message) fields(f *fields) {
	number(f, tagMessage, "message id", &m.ID)
	number(f, tagGUID, "guid", &m.GUID)
	number(f, tagTime, "timestamp", &m.Time)
	f.key(tagPublicKey, "author", &m.Author)
	f.blob(tagBlob, &m.Blob)
}

func (r *MembersInfo) fields(f *fields) {
	list(f, "members", tagUser, &r.Members, func(f *fields, m *MemberInfo) {
		f.key(tagUser, "user", &m.User)
		f.blob(tagMemberInfo, &m.Info)
		number(f, tagTime, "timestamp", &m.Time)
	})
}

func (r *Members) fields(f *fields) {
	list(f, "members", tagUser, &r.Members, func(f *fields, m *Member) {
		f.key(tagUser, "user", &m.User)
		octet(f, tagPermissions, "permissions", &m.Permissions)
		f.flag(tagOnline, "online", &m.Online)
		number(f, tagLastSeen, "last seen", &m.LastSeen)
	})
}

func (r *Nonce) appendTo(b []byte) []byte       { return appendPayload(b, r) }
func (r *Chat) appendTo(b []byte) []byte        { return appendPayload(b, r) }
func (*Deleted) appendTo(b []byte) []byte       { return append(b, 1) }
func (r *Chats) appendTo(b []byte) []byte       { return appendPayload(b, r) }
func (r *Sent) appendTo(b []byte) []byte        { return appendPayload(b, r) }
func (r *LastMessage) appendTo(b []byte) []byte { return appendPayload(b, r) }
func (r *Messages) appendTo(b []byte) []byte    { return appendPayload(b, r) }
func (r *MembersInfo) appendTo(b []byte) []byte { return appendPayload(b, r) }
func (r *Members) appendTo(b []byte) []byte     { return appendPayload(b, r) }

func (r *Nonce) parse(b []byte) error       { return parsePayload(b, r) }
func (r *Chat) parse(b []byte) error        { return parsePayload(b, r) }
func (r *Chats) parse(b []byte) error       { return parsePayload(b, r) }
func (r *Sent) parse(b []byte) error        { return parsePayload(b, r) }
func (r *LastMessage) parse(b []byte) error { return parsePayload(b, r) }
func (r *Messages) parse(b []byte) error    { return parsePayload(b, r) }
func (r *MembersInfo) parse(b []byte) error { return parsePayload(b, r) }
func (r *Members) parse(b []byte) error     { return parsePayload(b, r) }

func (*Deleted) parse(b []byte) error {
	if len(b) != 1 || b[0] != 1 {
		return wire.NewViolation(wire.CodeValue, "deleted: %d bytes, must be one byte 01", len(b))
	}
	return nil
}

// AppendOK appends the answer to a request that is fulfilled; result is nil for a
// command whose answer has no fields.
func AppendOK(b []byte, id uint16, result Result) []byte {
	b, start := wire.AppendServerFrame(b, byte(StatusOK), id)
	if result != nil {
		b = result.appendTo(b)
	}
	return wire.FinishServerFrame(b, start)
}

// AppendError appends a refusal.
func AppendError(b []byte, id uint16, text string) []byte {
	b, start := wire.AppendServerFrame(b, byte(StatusError), id)
	return wire.FinishServerFrame(wire.AppendShortText(b, text), start)
}

// AnswerHead is the beginning of an answer or a push. A client looks at it before it takes
// memory for the payload, which follows: [AnswerHead.Answer] or [AnswerHead.Skip] reads that.
type AnswerHead struct {
	Status Status
	// ID is that of the request, and of a push its [PushCode].
	ID uint16
	// Size is the length of the payload in bytes.
	Size int
}

// ReadAnswerHead reads the beginning of an answer or a push. An error ends the connection:
// that of the stream, or a violation when the payload is longer than wire.MaxMediatorAnswer.
func ReadAnswerHead(src *bufio.Reader) (AnswerHead, error) {
	r := wire.NewReader(src)
	b := r.Header(7)
	if r.Err() != nil {
		return AnswerHead{}, r.Err()
	}
	h := AnswerHead{Status: Status(b[0]), ID: binary.BigEndian.Uint16(b[1:])}
	size := binary.BigEndian.Uint32(b[3:])
	switch {
	case h.Status > StatusPush:
		return AnswerHead{}, wire.NewViolation(wire.CodeCommand, "answer with status %d", h.Status)
	case size > wire.MaxMediatorAnswer:
		return AnswerHead{}, wire.NewViolation(wire.CodeLength, "answer: %d bytes, at most %d", size, wire.MaxMediatorAnswer)
	}
	h.Size = int(size)
	return h, nil
}

// Answer reads the payload. Memory follows the bytes that arrive.
func (h AnswerHead) Answer(src *bufio.Reader) (Answer, error) {
	r := wire.NewReader(src)
	payload := r.Bytes("answer", int64(h.Size), wire.MaxMediatorAnswer)
	return Answer{Status: h.Status, ID: h.ID, payload: payload}, unexpected(r.Err())
}

// Skip reads over the payload.
func (h AnswerHead) Skip(src *bufio.Reader) error {
	r := wire.NewReader(src)
	r.Skip("answer", int64(h.Size), wire.MaxMediatorAnswer)
	return unexpected(r.Err())
}

// unexpected is the error of a stream that ends where a payload has to follow.
func unexpected(err error) error {
	if err == io.EOF { //nolint:errorlint // as the reader returns it
		return io.ErrUnexpectedEOF
	}
	return err
}

// ReadAnswer reads one answer or push with a payload of at most limit bytes, which is
// wire.MaxMediatorAnswer or less. Its error ends the connection. A refusal of the
// mediator is not an error here. Memory follows the bytes that arrived.
func ReadAnswer(src *bufio.Reader, limit int) (Answer, error) {
	h, err := ReadAnswerHead(src)
	if err == nil && h.Size > limit {
		err = wire.NewViolation(wire.CodeLength, "answer: %d bytes, at most %d", h.Size, limit)
	}
	if err != nil {
		return Answer{}, err
	}
	return h.Answer(src)
}

// Answer is what arrived from a mediator: an answer or a push.
type Answer struct {
	Status Status
	// ID is that of the request, and of a push its [PushCode].
	ID      uint16
	payload []byte
}

// Size returns the length of the payload in bytes.
func (a Answer) Size() int { return len(a.payload) }

// Err returns nil, or a *[ServerError].
func (a Answer) Err() error {
	if a.Status != StatusError {
		return nil
	}
	return &ServerError{wire.Refusal(a.payload)}
}

// Parse parses an answer into result, which has the type that belongs to the request's
// command and is nil for a command without a result. Blobs point into the answer. The
// error is a *[ServerError] or a violation; result means nothing after it.
func (a Answer) Parse(result Result) error {
	if err := a.Err(); err != nil || result == nil {
		return err
	}
	return result.parse(a.payload)
}
