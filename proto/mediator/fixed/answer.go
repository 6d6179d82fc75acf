// SPDX-License-Identifier: MPL-2.0

package fixed

import (
	"bufio"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Result is what a mediator answers to a request that it fulfils: one of the types
// below, or nothing.
type Result interface {
	payload
	result()
}

// Nonce answers [GetNonce].
type Nonce struct{ Nonce [32]byte }

// Chat answers [CreateChat].
type Chat struct{ Chat ChatID }

// Deleted answers [DeleteChat].
type Deleted struct{}

// Chats answers [GetUserChats].
type Chats struct{ Chats []ChatID }

// LastMessage answers [SendMessage], [GetLastMessageID] and [Subscribe].
type LastMessage struct{ Message MessageID }

// Messages answers [GetMessagesSince].
type Messages struct{ Messages []Message }

// Message is a message of a group, as the mediator hands it out. Nothing but the
// mediator vouches for the author.
type Message struct {
	Chat   ChatID
	ID     MessageID // 0 when the mediator does not store it
	GUID   peer.GUID
	Author identity.PublicKey
	Blob   []byte // sealed by package group; plain when the mediator is the author, see [System]
}

// MembersInfo answers [GetMembersInfo].
type MembersInfo struct{ Members []MemberInfo }

// MemberInfo is what a member told about themselves.
type MemberInfo struct {
	User identity.PublicKey
	Info []byte // group.AppendProfile, sealed; empty when there is none newer than asked for
	Time int64  // Unix seconds
}

// Members answers [GetMembers]: all who are not banned.
type Members struct{ Members []Member }

// Member is one member of a group.
type Member struct {
	User        identity.PublicKey
	Permissions Permissions
	Online      bool // subscribed to the chat on some stream
}

// What the items of lists take at least, in bytes.
const (
	chatSize       = 8
	messageSize    = 8 + 8 + 8 + identity.KeySize + 4
	memberInfoSize = identity.KeySize + 4 + 8
	memberSize     = identity.KeySize + 1 + 1
)

func (r *Nonce) fields(f *fields) { f.fixed("nonce", r.Nonce[:]) }

func (r *Chat) fields(f *fields) { number(f, "chat", &r.Chat) }

func (*Deleted) fields(f *fields) {
	done := true
	f.flag("deleted", &done)
	if !done {
		f.in.Fail(wire.NewViolation(wire.CodeValue, "deleted: 0, must be 1"))
	}
}

func (r *Chats) fields(f *fields) {
	list(f, "chats", &r.Chats, chatSize, func(f *fields, c *ChatID) { number(f, "chat", c) })
}

func (r *LastMessage) fields(f *fields) { number(f, "message", &r.Message) }

func (r *Messages) fields(f *fields) {
	list(f, "messages", &r.Messages, messageSize, func(f *fields, m *Message) { m.fields(f) })
}

func (m *Message) fields(f *fields) {
	number(f, "chat", &m.Chat)
	number(f, "message", &m.ID)
	number(f, "guid", &m.GUID)
	f.key("author", &m.Author)
	f.blob("message", &m.Blob, anyBlob)
}

func (r *MembersInfo) fields(f *fields) {
	list(f, "members", &r.Members, memberInfoSize, func(f *fields, m *MemberInfo) {
		f.key("user", &m.User)
		f.blob("member info", &m.Info, anyBlob)
		number(f, "time", &m.Time)
	})
}

func (r *Members) fields(f *fields) {
	list(f, "members", &r.Members, memberSize, func(f *fields, m *Member) {
		f.key("user", &m.User)
		octet(f, "permissions", &m.Permissions)
		f.flag("online", &m.Online)
	})
}

func (*Nonce) result()       {}
func (*Chat) result()        {}
func (*Deleted) result()     {}
func (*Chats) result()       {}
func (*LastMessage) result() {}
func (*Messages) result()    {}
func (*MembersInfo) result() {}
func (*Members) result()     {}

// AppendOK appends the answer to a request that is fulfilled; result is nil for one
// whose answer has no fields.
func AppendOK(b []byte, id uint16, result Result) []byte {
	b, start := wire.AppendServerFrame(b, statusOK, id)
	if result != nil {
		b = appendPayload(b, result)
	}
	return wire.FinishServerFrame(b, start)
}

// AppendError appends a refusal. Outside of any request the id is 0.
func AppendError(b []byte, id uint16, text string) []byte {
	b, start := wire.AppendServerFrame(b, statusError, id)
	return wire.FinishServerFrame(wire.AppendShortText(b, text), start)
}

// Answer is what came from a mediator: an answer or a push.
type Answer struct {
	// ID of the request that it answers; of a push its [PushCode].
	ID      uint16
	failed  bool
	payload []byte
}

// ReadAnswer reads what a mediator sends. Errors, and only those of this function,
// end the stream. What the mediator refuses is not an error here.
func ReadAnswer(src *bufio.Reader) (Answer, error) {
	r := wire.NewReader(src)
	status, id, payload := r.ServerFrame("answer", MaxAnswer)
	switch {
	case r.Err() != nil:
		return Answer{}, r.Err()
	case status > statusError:
		return Answer{}, wire.NewViolation(wire.CodeCommand, "answer with status %d", status)
	}
	return Answer{ID: id, failed: status == statusError, payload: payload}, nil
}

// ServerError is the refusal of a mediator.
type ServerError struct {
	// Text is the mediator's word, cut and without control characters.
	Text string
}

// Error quotes the mediator.
func (e *ServerError) Error() string { return "the mediator refuses: " + e.Text }

// Err returns nil, or a *[ServerError].
func (a Answer) Err() error {
	if !a.failed {
		return nil
	}
	return &ServerError{wire.Refusal(a.payload)}
}

// Parse reads the fields of an answer into result, which is of the type that the
// request's command has, and nil when it has none. Blobs point into the answer.
// Errors are a *[ServerError] and violations; after one the result means nothing.
func (a Answer) Parse(result Result) error {
	if err := a.Err(); err != nil || result == nil {
		return err
	}
	return parsePayload(a.payload, result)
}
