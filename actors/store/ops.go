// SPDX-License-Identifier: MPL-2.0

package store

import "github.com/mimird/mimird/proto/identity"

// Op is one write: a plain struct, passed by value. It is applied whole or, when
// it fails, not at all. Its comment names the type of its result.
//
// Byte slices inside belong to the store once the operation was sent. Times that
// are left zero become the store's own clock.
type Op interface {
	// apply runs in the store actor's turn. An error undoes everything it did.
	apply(t *txn) (any, error)
	// size is roughly how many bytes the operation adds to a batch.
	size() int
}

// Limits of what an operation may carry. Peers cannot reach them: the wire has
// its own, smaller ones.
const (
	// MaxPayload is the largest payload of a message, in bytes.
	MaxPayload = 16 << 20
	// MaxBody is the largest body of a journal entry, in bytes: the largest
	// transaction that a homeserver may push.
	MaxBody = 64 << 20
	// MaxText is the longest name, info or reason, in bytes.
	MaxText = 64 << 10
	// MaxAvatar is the largest avatar, in bytes.
	MaxAvatar = 1 << 20
)

// PutAccount adds an account or replaces its fields; Created of an existing
// account stays. The result is whether anything changed.
type PutAccount struct{ Account Account }

// RemoveAccount removes an account with everything that belongs to it, its event
// log and cursors included. The result is whether it existed.
type RemoveAccount struct{ Account identity.PublicKey }

// AddContact adds a contact. When it exists already nothing is written. The
// result is [Added].
type AddContact struct{ Contact Contact }

// Added is the result of [AddContact].
type Added struct {
	Contact Contact // as stored
	Existed bool    // and was left as it was
}

// ContactFields selects what [UpdateContact] changes.
type ContactFields uint8

// The fields that UpdateContact can change.
const (
	FieldNickname ContactFields = 1 << iota
	FieldLocalName
	FieldInfo
	FieldAvatar
	FieldProfileTime
	FieldLastSeen
	FieldMuted
)

// UpdateContact changes the selected fields of a contact. The result is whether
// anything changed. A change of LastSeen alone makes no event and may be lost in
// a crash.
type UpdateContact struct {
	Account     identity.PublicKey
	Contact     identity.PublicKey
	Fields      ContactFields
	Nickname    string
	LocalName   string
	Info        string
	Avatar      []byte
	ProfileTime Millis
	LastSeen    Millis
	Muted       bool
}

// SetContactState changes the state of a contact. A contact that becomes accepted is
// owed the answer yes, see [SettleAnswer]. The result is whether it changed.
type SetContactState struct {
	Account, Contact identity.PublicKey
	State            ContactState
}

// RemoveContact removes a contact with all messages of the conversation, also
// undelivered ones. Events stay. The result is whether it existed.
type RemoveContact struct{ Account, Contact identity.PublicKey }

// RecordNodeKey notes that a node key has authenticated as a contact. The first
// key of a contact is simply remembered; a further new one is an event. The
// result is [NodeKeyRecorded].
type RecordNodeKey struct {
	Account, Contact identity.PublicKey
	Key              identity.NodeKey
	// Generation of Mimir that answers there. Apps of gen2 have another node
	// key at every start, which is therefore no event unless it is Unconfirmed.
	Generation uint8
	// SubnetAddr is the address of a device behind the node, in gen1 only.
	SubnetAddr IPv6
	Time       Millis
	// Unconfirmed says that nothing but the handshake speaks for a new key.
	Unconfirmed bool
}

// Unconfirmed is the reason of a [NodeKeyChanged] of that kind.
const Unconfirmed = "unconfirmed"

// NodeKeyRecorded is the result of [RecordNodeKey].
type NodeKeyRecorded struct {
	New     bool // the key was not known
	Changed bool // the contact was known by other keys: there is an event
}

// NoteForeignNode puts into an account's log that trackers lead to a node
// which is none of its devices, and remembers it in [Account.ForeignNodes]. The result
// is true.
type NoteForeignNode struct {
	Account identity.PublicKey
	Node    identity.NodeKey
}

// NoteHandshakeRelayed puts into an account's log that it was asked, over a
// connection with a node and an identity, to sign a challenge that is sealed for
// another connection. The result is true.
type NoteHandshakeRelayed struct {
	Account, Remote identity.PublicKey
	Node            identity.NodeKey
}

// NoteDeviceRefused puts into a conversation's log that a node was turned away
// that had authenticated as the contact. The result is true.
type NoteDeviceRefused struct {
	Account, Contact identity.PublicKey
	Node             identity.NodeKey
}

// AcceptMessage stores an incoming message of a conversation, once: the same guid with
// the same content is a duplicate. The same guid with other content and a newer edit
// time replaces the content; without an edit time it is a message of its own. The
// result is [Accepted]; when it arrives the peer may be told OK.
//
// SendTime is what the sender claims. What is stored is its [PlausibleTime]. EditTime is
// stored as it is: it orders the edits of one sender.
//
// Errors: [ErrNotFound] when the contact or group is unknown, [ErrDiskFull], [ErrBusy],
// [ErrInvalid].
type AcceptMessage struct {
	Account      identity.PublicKey
	Conversation ConversationID
	GUID         int64
	Type         int32
	ReplyTo      int64
	SendTime     Millis
	EditTime     Millis
	Received     Millis
	Payload      []byte
	// Reaction is what the payload says when the message is a reaction, else nil.
	Reaction *ReactionTo
	// Media is the file that belongs to the message, nil for none.
	Media *Media
}

// ReactionTo is the content of a reaction. The caller has read it from the payload.
type ReactionTo struct {
	Target int64  // guid of the message reacted to, of either side
	Emoji  string // "" takes the reaction back
}

// Accepted is the result of [AcceptMessage].
type Accepted struct {
	ID        MessageID
	Order     uint64
	Duplicate bool // nothing was written: we have it
	Edited    bool // the content of a stored message was replaced
	Stray     bool // a reaction to a message that the conversation does not have
	// Crowded says that nothing was written and the message is not ours: its guid has
	// MaxVariants contents already. The peer must not be told OK.
	Crowded bool
}

// EnqueueMessage puts a message into the outbox. With a Source it is idempotent:
// the same source of the same account again returns the message stored the first
// time and writes nothing. The result is [Enqueued].
//
// Errors: [ErrNotFound] when the contact or group is unknown, [ErrGUIDTaken],
// [ErrOutboxFull], [ErrDiskFull], [ErrBusy], [ErrInvalid].
type EnqueueMessage struct {
	Account      identity.PublicKey
	Conversation ConversationID
	GUID         int64
	Type         int32
	ReplyTo      int64
	SendTime     Millis
	Created      Millis
	Payload      []byte
	Source       string
	Reaction     *ReactionTo // as in AcceptMessage

	held bool // see EnqueueFile
}

// Enqueued is the result of [EnqueueMessage].
type Enqueued struct {
	Message   Message
	Duplicate bool // nothing was written: the source was queued before
}

// MarkDelivered takes a message out of the outbox because the peer acknowledged
// it. A message that was given up is delivered all the same: the peer has it. The
// result is false, and nothing is written, for an unknown guid and for a message
// that is delivered already.
type MarkDelivered struct {
	Account      identity.PublicKey
	Conversation ConversationID
	GUID         int64
	Time         Millis
}

// FailMessage gives up an undelivered message. The result is false, and nothing
// is written, when it is not undelivered.
type FailMessage struct {
	Account      identity.PublicKey
	Conversation ConversationID
	GUID         int64
	Time         Millis
	Reason       string // for people
}

// MoveCursor notes that a consumer has dealt with the events of a conversation up
// to Seq. A cursor never moves back. The result is whether it moved.
type MoveCursor struct {
	Consumer     string
	Account      identity.PublicKey
	Conversation ConversationID
	Seq          uint64
}

// AppendJournal adds an entry to a named queue, once per id: also a finished
// entry's id is remembered, for 30 days and among the last 100,000. The result is
// [Journaled].
//
// An entry whose budget has no place left, see [NewEntry], is refused with
// [ErrJournalFull].
type AppendJournal struct {
	Queue  string
	ID     string
	Time   Millis
	Body   []byte
	Budget string
}

// Journaled is the result of [AppendJournal].
type Journaled struct {
	Seq       uint64
	Duplicate bool // nothing was written: the id is known
}

// FinishJournal removes an entry from its queue; its id stays known. The result
// is whether it was there.
type FinishJournal struct {
	Queue string
	Seq   uint64
}

// PutAddresses replaces what the resolver knows of an identity; an empty list
// removes it. At most [MaxAddresses] are kept. It is a cache: the write may be
// lost in a crash. The result is nil.
type PutAddresses struct {
	Identity  identity.PublicKey
	Addresses []Address
}

// Write asks the store actor to carry out an operation. The sender gets
// [Written] with the same token when the operation is on the disk or has failed.
// Failures are answered at once, so answers may overtake each other.
type Write struct {
	Token uint64
	Op    Op
}

// Written answers a [Write].
type Written struct {
	Token  uint64
	Result any // of the type that the operation's comment names; nil with an error
	Err    error
}
