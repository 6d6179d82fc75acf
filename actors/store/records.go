// SPDX-License-Identifier: MPL-2.0

package store

import (
	"net/netip"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

// Records are CBOR maps with small integers as keys. A number is never used for
// another meaning. What the key already says is not repeated in the value: such
// fields are tagged "-" and filled in when the row is read. A field this version
// does not know is kept when a row is rewritten (see mergeUnknown), so a new
// field always takes the next free number.

// Millis is a moment in milliseconds since 1970, UTC: the unit of Mimir's wire.
// Zero means unknown. It may be any number when it came from a peer; see
// [PlausibleTime].
type Millis int64

// MillisOf converts a time; the zero time becomes 0.
func MillisOf(t time.Time) Millis {
	if t.IsZero() {
		return 0
	}
	return Millis(t.UnixMilli())
}

// Time converts back; 0 becomes the zero time. The result lies in the years 1 to
// 9999, whatever a peer claimed, so that it can be encoded.
func (m Millis) Time() time.Time {
	if m == 0 {
		return time.Time{}
	}
	return m.readable()
}

// Account is one identity of this node. Its secrets are not in the database.
type Account struct {
	ID          identity.PublicKey `cbor:"-"`
	Name        string             `cbor:"1,keyasint,omitempty"`
	Info        string             `cbor:"2,keyasint,omitempty"`
	Avatar      []byte             `cbor:"3,keyasint,omitempty"`
	ClientID    uint32             `cbor:"4,keyasint,omitempty"` // tells this device from others of the identity
	Priority    uint8              `cbor:"5,keyasint,omitempty"` // what trackers are told; senders try the highest first
	Strangers   StrangerPolicy     `cbor:"6,keyasint,omitempty"`
	Created     Millis             `cbor:"7,keyasint,omitempty"`
	ProfileTime Millis             `cbor:"8,keyasint,omitempty"` // when name, info or avatar changed
	Role        Role               `cbor:"20,keyasint,omitempty"`
	// ForwardTo is another account of this node, to which this one forwards what it
	// receives; zero for none.
	ForwardTo identity.PublicKey `cbor:"21,keyasint,omitzero"`
	// ForeignNodes are nodes that are none of the account's devices and for which there
	// was an event [ForeignNodeAnnounced], the latest last.
	ForeignNodes []ForeignNode `cbor:"22,keyasint,omitempty"`
	// Greeting is how long the greeting of the answering machine plays, see
	// [SetGreeting]; 0 says that there is none, and the machine is off.
	Greeting Millis `cbor:"23,keyasint,omitempty"`
	// ForwardGroups says that what groups say is forwarded too.
	ForwardGroups bool `cbor:"24,keyasint,omitempty"`
}

// MaxForeignNodes is how many foreign nodes are remembered per account. Each needs
// a signature of the account, so there is hardly ever one.
const MaxForeignNodes = MaxAddresses

// ForeignNode is a node that trackers named for an account, with its signature.
type ForeignNode struct {
	Key   identity.NodeKey `cbor:"1,keyasint"`
	Since Millis           `cbor:"2,keyasint,omitempty"`
}

// Role is what a node does for an account that a phone has too.
type Role uint8

const (
	// RolePrimary receives everything: senders try the node first.
	RolePrimary Role = iota
	// RoleBackup receives what senders cannot bring to the phone.
	RoleBackup
	// RoleMirror keeps what senders cannot bring to the phone, and
	// acknowledges nothing, so that they keep retrying.
	RoleMirror
)

// StrangerPolicy says what happens when an unknown identity connects.
type StrangerPolicy uint8

const (
	// StrangersAsk holds the contact request until a person decides.
	StrangersAsk StrangerPolicy = iota
	// StrangersAccept makes every stranger a contact.
	StrangersAccept
	// StrangersRefuse ends the session.
	StrangersRefuse
)

// Contact is another identity that an account knows.
type Contact struct {
	Account     identity.PublicKey `cbor:"-"`
	ID          identity.PublicKey `cbor:"-"`
	Nickname    string             `cbor:"1,keyasint,omitempty"` // chosen by the contact
	LocalName   string             `cbor:"2,keyasint,omitempty"` // chosen by our user
	Info        string             `cbor:"3,keyasint,omitempty"`
	Avatar      []byte             `cbor:"4,keyasint,omitempty"`
	State       ContactState       `cbor:"5,keyasint,omitempty"`
	ProfileTime Millis             `cbor:"6,keyasint,omitempty"` // when the contact changed their profile, by their clock
	NodeKeys    []KnownNode        `cbor:"7,keyasint,omitempty"` // that authenticated as the contact, latest first
	Added       Millis             `cbor:"8,keyasint,omitempty"`
	LastSeen    Millis             `cbor:"9,keyasint,omitempty"`

	// The contact's request to us.
	Request   string `cbor:"20,keyasint,omitempty"` // its text
	Requested Millis `cbor:"21,keyasint,omitempty"` // when it came
	Declined  Millis `cbor:"22,keyasint,omitempty"` // when our user said no, 0 when they did not
	Owed      Answer `cbor:"23,keyasint,omitempty"` // what the contact has not been told yet

	// Our request to the contact.
	OurRequest string   `cbor:"24,keyasint,omitempty"` // its text
	Asked      AskState `cbor:"25,keyasint,omitempty"`

	Muted     bool         `cbor:"26,keyasint,omitempty"` // for consumers: they show it, quietly
	Unblocked ContactState `cbor:"27,keyasint,omitempty"` // a blocked contact: the state that it had before

	// NicknameSince is since when the contact has borne the nickname as an accepted
	// contact, 0 when that is Added. FormerNames are earlier ones, the latest last: a
	// name that has meant one contact must not come to mean another.
	NicknameSince Millis       `cbor:"28,keyasint,omitempty"`
	FormerNames   []FormerName `cbor:"29,keyasint,omitempty"`
}

// MaxFormerNames is how many earlier nicknames are remembered per contact; the
// oldest is forgotten first.
const MaxFormerNames = 8

// FormerName is a nickname that a contact has borne, since when.
type FormerName struct {
	Name  string `cbor:"1,keyasint"`
	Since Millis `cbor:"2,keyasint,omitempty"`
}

// Answer is an answer to a contact request.
type Answer uint8

const (
	// AnswerNone means that no answer is owed.
	AnswerNone Answer = iota
	// AnswerYes makes two contacts.
	AnswerYes
	// AnswerNo declines.
	AnswerNo
)

// AskState is how far our request to a contact has come.
type AskState uint8

const (
	// AskNone means that there is no request.
	AskNone AskState = iota
	// AskWaiting goes out with the next session.
	AskWaiting
	// AskSent is with the contact, who has not answered.
	AskSent
	// AskAccepted was answered with yes.
	AskAccepted
	// AskDeclined was answered with no.
	AskDeclined
)

// ContactState is how far an account and a contact know each other.
type ContactState uint8

const (
	// ContactStranger has connected, nothing more.
	ContactStranger ContactState = iota
	// ContactRequested has asked to be a contact and waits for our user.
	ContactRequested
	// ContactAccepted may write.
	ContactAccepted
	// ContactBlocked may not connect.
	ContactBlocked
)

// MaxNodeKeys is how many node keys are remembered per contact. People have a
// phone and a node or two; the one unused longest is forgotten first.
const MaxNodeKeys = 16

// KnownNode is a node key that has authenticated as a contact.
type KnownNode struct {
	Key       identity.NodeKey `cbor:"1,keyasint"`
	FirstAuth Millis           `cbor:"2,keyasint,omitempty"`
	LastAuth  Millis           `cbor:"3,keyasint,omitempty"`
	// Generation of Mimir that answered there last, 0 when nobody noted it.
	Generation uint8 `cbor:"4,keyasint,omitempty"`
	// SubnetAddr is the address of the device behind the node that answered there last in
	// gen1; zero when it was the node itself.
	SubnetAddr IPv6 `cbor:"5,keyasint,omitzero"`
}

// IPv6 is an address in a record; zero is none.
type IPv6 [16]byte

// IPv6Of returns an address for a record.
func IPv6Of(a netip.Addr) IPv6 {
	if !a.Is6() {
		return IPv6{}
	}
	return a.As16()
}

// Addr is the address, invalid for zero.
func (a IPv6) Addr() netip.Addr {
	if a == (IPv6{}) {
		return netip.Addr{}
	}
	return netip.AddrFrom16(a)
}

// Message is one message of a conversation, in either direction.
type Message struct {
	Account      identity.PublicKey `cbor:"-"`
	Conversation ConversationID     `cbor:"-"`
	Order        uint64             `cbor:"-"` // position in the conversation, from 1, by arrival here
	ID           MessageID          `cbor:"1,keyasint"`
	Type         int32              `cbor:"2,keyasint,omitempty"`
	ReplyTo      int64              `cbor:"3,keyasint,omitempty"` // guid, 0 for none
	SendTime     Millis             `cbor:"4,keyasint,omitempty"` // by the sender's clock
	EditTime     Millis             `cbor:"5,keyasint,omitempty"` // by the sender's clock, 0 when never edited
	Created      Millis             `cbor:"6,keyasint,omitempty"` // when it was stored here, by our clock
	Payload      []byte             `cbor:"7,keyasint,omitempty"`
	State        MessageState       `cbor:"8,keyasint,omitempty"`
	StateTime    Millis             `cbor:"9,keyasint,omitempty"`
	Reason       string             `cbor:"10,keyasint,omitempty"` // why it failed, for people
	Source       string             `cbor:"11,keyasint,omitempty"` // idempotency key of the caller that queued it
	// Held says that its file has to be uploaded before it can be sent.
	Held bool `cbor:"20,keyasint,omitempty"`

	// Of a message in a group. The direction is Out when the account is the author, also
	// on another device.

	// Author is who wrote it, as the mediator says: the mediator's own key for what the
	// mediator itself says. Zero in the conversation with a contact, and until the
	// mediator has the message.
	Author identity.PublicKey `cbor:"21,keyasint,omitzero"`
	// Number is the mediator's number of the message, ascending within the group; 0 until
	// the mediator has it.
	Number int64 `cbor:"22,keyasint,omitempty"`
	// ServerGUID is the guid by which the mediator knows the message, 0 when that is
	// ID.GUID. It is the one to delete it by.
	ServerGUID int64 `cbor:"23,keyasint,omitempty"`
	// Unreadable says that it could not be decrypted or read: Payload is what the mediator
	// delivered, Type means nothing, and ID.GUID is the mediator's guid.
	Unreadable bool `cbor:"24,keyasint,omitempty"`
	// Deleted says that it was deleted for everybody: there is no payload any more.
	Deleted bool `cbor:"25,keyasint,omitempty"`
	// Digest is there when the content has expired, in place of it: SHA-256 of type, quoted
	// message and payload.
	Digest []byte `cbor:"26,keyasint,omitempty"`
}

// MessageState is how far a message has come.
type MessageState uint8

const (
	// StateReceived came from the contact.
	StateReceived MessageState = iota
	// StatePending is in the outbox.
	StatePending
	// StateDelivered was acknowledged by a device of the contact.
	StateDelivered
	// StateFailed was given up and is not sent any more.
	StateFailed
)

// Event is one entry of an account's log: something that happened. What it is
// about is read from its own row, which may have changed since, or be gone.
type Event struct {
	Account      identity.PublicKey `cbor:"-"`
	Seq          uint64             `cbor:"-"`                     // per account, from 1, without gaps; the oldest may have been trimmed
	Conversation ConversationID     `cbor:"1,keyasint,omitzero"`   // zero: about the account itself
	Kind         EventKind          `cbor:"2,keyasint"`            //
	Time         Millis             `cbor:"3,keyasint,omitempty"`  // by our clock
	Message      MessageID          `cbor:"4,keyasint"`            // events about messages
	Order        uint64             `cbor:"5,keyasint,omitempty"`  // events about messages; ConversationRead: the last one that was read
	State        ContactState       `cbor:"6,keyasint,omitempty"`  // ContactAdded, ContactChanged: the state afterwards
	NodeKey      identity.NodeKey   `cbor:"7,keyasint,omitzero"`   // NodeKeyChanged: the new key; alarms: the foreign one
	Reason       string             `cbor:"8,keyasint,omitempty"`  // MessageFailed; ContactChanged: see ChangedName; NodeKeyChanged: Unconfirmed or ""; HandshakeRelayed: the other side's identity
	Accepted     bool               `cbor:"20,keyasint,omitempty"` // ContactAnswered: the answer was yes
	Member       identity.PublicKey `cbor:"21,keyasint,omitzero"`  // MembersChanged: who, zero for several; GroupTask…: whom it is about
	Task         uint64             `cbor:"22,keyasint,omitempty"` // GroupTaskDone, GroupTaskFailed: GroupTask.Seq
}

// What has changed of a contact: the reason of [ContactChanged], several with commas
// between them. Events of older versions have none.
const (
	ChangedNickname  = "nickname"  // what the contact calls themselves
	ChangedName      = "name"      // what our user calls them
	ChangedInfo      = "info"      // what people can read about them
	ChangedAvatar    = "avatar"    // their picture
	ChangedMuted     = "muted"     // our user has muted them
	ChangedUnmuted   = "unmuted"   // and undone that
	ChangedAsked     = "asked"     // our user asks them to be a contact
	ChangedRequested = "requested" // they ask our user
	ChangedAccepted  = "accepted"  // they are a contact now
	ChangedDeclined  = "declined"  // their request was declined
	ChangedBlocked   = "blocked"   // our user has blocked them
	ChangedUnblocked = "unblocked" // and undone that
)

// EventKind says what happened.
type EventKind uint8

const (
	// AccountAdded starts the log of an account.
	AccountAdded EventKind = iota + 1
	// AccountChanged says that the account's own fields changed.
	AccountChanged
	// ContactAdded says that a contact row was created, in Event.State.
	ContactAdded
	// ContactChanged says that profile, local name or state changed.
	ContactChanged
	// ContactRemoved says that a contact and all its messages were removed.
	ContactRemoved
	// NodeKeyChanged says that a contact that was known by other node keys has
	// authenticated with a new one. People can see it, as they see a changed
	// safety number elsewhere. Its reason is [Unconfirmed] when nothing but the
	// handshake speaks for the new one.
	NodeKeyChanged
	// MessageReceived says that a message of the contact was stored.
	MessageReceived
	// MessageEdited says that the contact replaced the content of a message.
	MessageEdited
	// MessageQueued says that a message was put into the outbox.
	MessageQueued
	// MessageDelivered says that a device of the contact acknowledged a message.
	MessageDelivered
	// MessageFailed says that a message was given up.
	MessageFailed
	// ForeignNodeAnnounced says that a tracker has a record with the account's own
	// signature that leads to a node which is none of its devices.
	ForeignNodeAnnounced
	// CallMissed says that a call of the contact was not answered. There is one
	// for each call.
	CallMissed
	// ContactAnswered says that the contact has answered our request.
	ContactAnswered
	// MediaChanged says that the file of a message has come into another state; see
	// [Media].
	MediaChanged
	// HandshakeRelayed says that the account was asked to sign a challenge that one of
	// our nodes had sealed for another connection: a relay is in between.
	HandshakeRelayed
	// DeviceRefused says that a device connected as the contact that
	// nothing speaks for, and was refused.
	DeviceRefused
	// RequestReceived says that a stranger asks to be a contact and waits for our user. It
	// follows the event of the contact's row, which has the text.
	RequestReceived
	// GroupAdded says that a group is in the list of groups now: see [Group.State].
	GroupAdded
	// GroupChanged says that state, name, description, picture, our permissions or a
	// setting of a group changed.
	GroupChanged
	// GroupRemoved says that a group and all its messages were removed.
	GroupRemoved
	// InviteReceived says that an invite to a group waits for our user. It follows the
	// event of the group's row.
	InviteReceived
	// MembersChanged says that members of a group came or left, or that their
	// permissions or profiles changed.
	MembersChanged
	// MessageSynced says that another device of the account has sent a message to a group.
	MessageSynced
	// MessageDeleted says that a message of a group was deleted for everybody.
	MessageDeleted
	// GroupTaskDone says that the mediator has done what a [GroupTask] asks for.
	GroupTaskDone
	// GroupTaskFailed says that a [GroupTask] was given up; see Event.Reason.
	GroupTaskFailed
	// ConversationRead says that our user has read a conversation up to Event.Order.
	ConversationRead
	// MessagesExpired says that the content of messages was removed here, none of them
	// behind Order; see [ExpireMessages].
	MessagesExpired
)

// Address is one place where an identity may be reachable.
type Address struct {
	Node       identity.NodeKey `cbor:"1,keyasint"`
	Priority   uint8            `cbor:"2,keyasint,omitempty"`
	Expires    Millis           `cbor:"3,keyasint,omitempty"`
	LastAuth   Millis           `cbor:"4,keyasint,omitempty"` // when a session there last authenticated
	SubnetAddr IPv6             `cbor:"5,keyasint,omitzero"`  // of a device behind the node, see KnownNode
}

// MaxAddresses is how many addresses the cache keeps per identity, as many as a
// tracker's answer can hold.
const MaxAddresses = 16

// Reaction is the present reaction of one side of a conversation to a message.
type Reaction struct {
	Target int64     `cbor:"-"` // guid of the message reacted to
	Dir    Direction `cbor:"-"` // In: the contact's, Out: ours
	// Author is who reacted, in a group; zero in the conversation with a contact.
	Author   identity.PublicKey `cbor:"-"`
	Emoji    string             `cbor:"1,keyasint,omitempty"` // "" when it was taken back
	SendTime Millis             `cbor:"2,keyasint,omitempty"` // by the clock of the side that reacted
	Message  MessageID          `cbor:"3,keyasint,omitzero"`  // that brought it
}

// JournalEntry is one unfinished entry of a named queue.
type JournalEntry struct {
	Queue string `cbor:"-"`
	Seq   uint64 `cbor:"-"` // per queue, from 1
	ID    string `cbor:"1,keyasint"`
	Time  Millis `cbor:"2,keyasint,omitempty"`
	Body  []byte `cbor:"3,keyasint,omitempty"`
	// Budget is that of the entry, see [NewEntry].
	Budget string `cbor:"4,keyasint,omitempty"`
	// Overflow says that the entry took the last place of its budget: entries that came
	// after it, and before it was finished, were left out.
	Overflow bool `cbor:"5,keyasint,omitempty"`
}

// PendingConversation is a conversation with events that a consumer has not
// dealt with: those after Cursor, up to and including Last.
type PendingConversation struct {
	Conversation ConversationID
	Last         uint64
	Cursor       uint64
}
