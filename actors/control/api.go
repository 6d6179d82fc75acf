// SPDX-License-Identifier: MPL-2.0

package control

import (
	"cmp"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/control/warnings"
	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The answers, as JSON. Keys are hex, guids decimal strings (they exceed what
// JavaScript can count), times RFC 3339. A field that has no value is left out.

// Account is one identity of the node.
type Account struct {
	ID   string `json:"id" doc:"Identity key, 64 hex digits"`
	Name string `json:"name"`
	Info string `json:"info,omitempty" doc:"What people can read about it"`
	Link string `json:"link" doc:"What others add as a contact"`
	// Avatar is the size of the picture, in bytes.
	Avatar int `json:"avatar_bytes,omitempty"`
	// Role is the part the node plays for an account that a phone has too.
	Role string `json:"role" enum:"primary,backup,mirror"`
	// ForwardTo is the account that forwards what this one receives.
	ForwardTo string `json:"hand_over,omitempty"`
	// ForwardGroups says that what groups say is forwarded too.
	ForwardGroups bool `json:"hand_over_groups,omitempty"`
	// Greeting is how long the greeting of the answering machine plays.
	Greeting float64 `json:"greeting_seconds,omitempty" doc:"0 says that the answering machine is off"`
	// Strangers is what happens when an unknown identity connects.
	Strangers string    `json:"strangers" enum:"ask,accept,refuse"`
	Created   time.Time `json:"created,omitzero"`
	// Waiting counts undelivered messages.
	Waiting int `json:"waiting"`
}

// Contact is an identity that an account knows.
type Contact struct {
	ID   string `json:"id" doc:"Identity key, 64 hex digits"`
	Name string `json:"name" doc:"Local name, else nickname, else the first digits of the key"`
	// Nickname is what the contact calls themselves.
	Nickname string `json:"nickname,omitempty"`
	Info     string `json:"info,omitempty"`
	// Avatar is the size of the picture, in bytes.
	Avatar int  `json:"avatar_bytes,omitempty"`
	Muted  bool `json:"muted,omitempty"`
	// Request is what the contact wrote when asking to be one, Requested when.
	Request   string    `json:"request,omitempty"`
	Requested time.Time `json:"requested,omitzero"`
	// Asked is how far our own request to the contact has come.
	Asked    string    `json:"asked,omitempty" enum:"waiting,sent,accepted,declined"`
	State    string    `json:"state" enum:"stranger,requested,accepted,blocked"`
	Online   bool      `json:"online" doc:"There is a connection at this moment"`
	Node     string    `json:"node,omitempty" doc:"Node key the contact is connected from"`
	LastSeen time.Time `json:"last_seen,omitzero"`
	// NextAttempt is when the contact is dialled again; only while something waits, and
	// not while an attempt is under way.
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	LastError   string    `json:"last_error,omitempty" doc:"Why the last attempt failed"`
	// Held are devices from which the contact was never met.
	Held []HeldDevice `json:"held_devices,omitempty" doc:"Devices that authenticated as the contact and that nothing else speaks for; nothing is taken from them"`
}

// Message is one message of a conversation.
type Message struct {
	ID      string `json:"id" doc:"i or o for the direction, then the guid in hex"`
	GUID    string `json:"guid" doc:"Decimal"`
	Contact string `json:"contact,omitempty"`
	Group   string `json:"group,omitempty" doc:"In place of a contact"`
	Author  string `json:"author,omitempty" doc:"Who wrote it, in a group"`
	// AuthorName is missing for the mediator.
	AuthorName string `json:"author_name,omitempty" doc:"What that member is called"`
	Direction  string `json:"direction" enum:"in,out"`
	Order      uint64 `json:"order" doc:"Position in the conversation"`
	Type       int32  `json:"type" doc:"0 is text"`
	TypeName   string `json:"type_name" enum:"text,image,call,file,reaction,system,unknown" doc:"See docs/events.md"`
	Text       string `json:"text,omitempty" doc:"Of a text; what the mediator of a group reports, in words"`
	// Reactions are told with pages of messages and single ones.
	Reactions []MessageReaction `json:"reactions,omitempty" doc:"The reactions to it that count; in lists of messages, not in events"`
	// Reaction and File are what the payload says of those types.
	Reaction *ReactionTo `json:"reaction,omitempty"`
	File     *File       `json:"file,omitempty"`
	// Payload is the raw payload of other types, base64.
	Payload []byte `json:"payload,omitempty"`
	ReplyTo string `json:"reply_to,omitempty" doc:"Guid of the quoted message"`
	// RefersTo is the message that this one quotes or reacts to, when the conversation
	// has it.
	RefersTo *Quoted   `json:"refers_to,omitempty"`
	Sent     time.Time `json:"sent,omitzero" doc:"By the sender's clock"`
	Stored   time.Time `json:"stored,omitzero" doc:"By the node's clock"`
	State    string    `json:"state" enum:"received,pending,delivered,failed"`
	Since    time.Time `json:"since,omitzero" doc:"When it came into that state"`
	Reason   string    `json:"reason,omitempty" doc:"Why it failed"`
	// Of a message in a group.
	Unreadable bool `json:"unreadable,omitempty" doc:"It could not be decrypted or read"`
	Deleted    bool `json:"deleted,omitempty" doc:"It was deleted for everybody"`
}

// ReactionTo is what a message says that is a reaction.
type ReactionTo struct {
	Target string `json:"target" doc:"Guid of the message reacted to, decimal"`
	Emoji  string `json:"emoji" doc:"Empty when the reaction is taken back"`
}

// Event is one entry of an account's event log. The kinds and what each carries are in
// docs/events.md.
type Event struct {
	Seq     uint64    `json:"seq"`
	Kind    string    `json:"kind"`
	Time    time.Time `json:"time,omitzero"`
	Contact string    `json:"contact,omitempty"`
	Group   string    `json:"group,omitempty" doc:"In place of a contact"`
	Name    string    `json:"name,omitempty" doc:"Of the contact or group"`
	// Message is the message as it is now; left out when it is gone.
	Message *Message `json:"message,omitempty"`
	Node    string   `json:"node,omitempty" doc:"The new node key"`
	Reason  string   `json:"reason,omitempty"`
	// Accepted is the contact's answer to our request.
	Accepted *bool `json:"accepted,omitempty"`
	// Request is the text of the contact's request, as it is now.
	Request string `json:"request,omitempty"`
	// Member is the member of a group that it is about.
	Member     string `json:"member,omitempty"`
	MemberName string `json:"member_name,omitempty"`
	// Task is the number of the task that the mediator has answered.
	Task uint64 `json:"task,omitempty"`
	// Order is the position up to which the conversation was read.
	Order uint64 `json:"order,omitempty"`
}

// Status is the state of the running node.
type Status struct {
	Version  string    `json:"version"`
	Node     string    `json:"node" doc:"Node key"`
	Address  string    `json:"address,omitempty" doc:"Yggdrasil IPv6 address"`
	Overlay  Overlay   `json:"overlay"`
	Trackers []Tracker `json:"trackers"`
	// OldTrackers are those of gen1 and gen2.
	OldTrackers []TrackerV1 `json:"old_trackers,omitempty"`
	// Mediators are the connections of accounts to the mediators of their groups.
	Mediators     []MediatorLink `json:"mediators,omitempty"`
	MissedInvites uint64         `json:"missed_invites,omitempty" doc:"Invites to groups since the start that were not stored; the inviter has to invite again"`
	Sessions      int            `json:"sessions" doc:"Contacts connected at this moment"`
	// StrayReactions is 0 as a rule.
	StrayReactions uint64 `json:"stray_reactions,omitempty" doc:"Reactions since the start to messages that the conversation does not have; they are shown nowhere"`
	// UnencodableEvents is 0 unless there is a defect.
	UnencodableEvents uint64    `json:"unencodable_events,omitempty" doc:"Events since the start that could not be sent to those who follow the log; the node's log names them"`
	Accounts          []Account `json:"accounts"`
	// Undelivered lists the conversations with undelivered messages, the oldest first, at
	// most 100 of them.
	Undelivered []Undelivered `json:"undelivered"`
	// Role is the tracker role of this process.
	Role *TrackerRole `json:"tracker_role,omitempty"`
	// FilesRole is the file server that this process is.
	FilesRole *FilesRole `json:"files_role,omitempty"`
	// MediatorRole is the mediator that this process is.
	MediatorRole *MediatorRole     `json:"mediator_role,omitempty"`
	Media        *MediaUsage       `json:"media,omitempty"`
	DiskLow      bool              `json:"disk_low,omitempty" doc:"Nothing new is taken in until there is space"`
	Warnings     []Warning         `json:"warnings"`
	Retention    *retention.Report `json:"retention,omitempty"`
	// Parts are what other parts of the process say of themselves.
	Parts map[string]json.RawMessage `json:"parts,omitempty"`
}

// Overlay is the way into the Yggdrasil network.
type Overlay struct {
	Running   bool     `json:"running"`
	Listening []string `json:"listening,omitempty"`
	Peers     []Peer   `json:"peers"`
	// Spares are peers of the configuration that are not connected for now.
	Spares []string `json:"spares,omitempty"`
}

// Peer is a link to another Yggdrasil node.
type Peer struct {
	URI       string  `json:"uri"`
	Up        bool    `json:"up"`
	Inbound   bool    `json:"inbound,omitempty"`
	LatencyMS float64 `json:"latency_ms,omitempty"`
	UptimeS   int64   `json:"uptime_s,omitempty"`
	RX        uint64  `json:"rx_bytes"`
	TX        uint64  `json:"tx_bytes"`
	Error     string  `json:"error,omitempty"`
}

// Tracker is a tracker this node uses.
type Tracker struct {
	Address   string    `json:"address"`
	Answers   bool      `json:"answers"`
	LatencyMS float64   `json:"latency_ms"`
	Announced time.Time `json:"announced_until,omitzero"`
	Last      time.Time `json:"last_answer,omitzero"`
}

// TrackerV1 is a tracker of gen1 or gen2 that this node uses.
type TrackerV1 struct {
	Address string    `json:"address"`
	Answers bool      `json:"answers" doc:"It answered the last question"`
	Last    time.Time `json:"last_answer,omitzero"`
	Error   string    `json:"error,omitempty" doc:"Why it did not answer the last question"`
}

// MediatorLink is the connection of an account to a mediator.
type MediatorLink struct {
	Account     string    `json:"account"`
	Mediator    string    `json:"mediator" doc:"Node key"`
	Connected   bool      `json:"connected"`
	Since       time.Time `json:"since,omitzero" doc:"When it was connected, or lost"`
	Error       string    `json:"error,omitempty" doc:"Why the last connection ended, or was not opened"`
	NextAttempt time.Time `json:"next_attempt,omitzero"`
	Groups      int       `json:"groups" doc:"Groups that need it"`
}

// TrackerRole is the tracker that this process is.
type TrackerRole struct {
	Address   string   `json:"address" doc:"What others put into their configuration"`
	Listening []string `json:"listening,omitempty"`
	Links     int      `json:"links" doc:"Yggdrasil nodes that its node is connected to; 0: nobody reaches it"`
}

// FilesRole is the file server that this process is.
type FilesRole struct {
	Key       string   `json:"key" doc:"What others put into their configuration"`
	Listening []string `json:"listening,omitempty"`
	Links     int      `json:"links" doc:"Yggdrasil nodes that its node is connected to; 0: nobody reaches it"`
}

// MediatorRole is the mediator that this process is.
type MediatorRole struct {
	Key         string   `json:"key" doc:"What nodes and bots are told to create groups at"`
	Listening   []string `json:"listening,omitempty"`
	Links       int      `json:"links" doc:"Yggdrasil nodes that its node is connected to; 0: nobody reaches it"`
	Groups      uint64   `json:"groups"`
	Messages    uint64   `json:"messages"`
	Bytes       uint64   `json:"bytes" doc:"What messages, pictures and profiles take of the quota"`
	Invites     uint64   `json:"invites" doc:"Not answered yet"`
	Clients     int      `json:"clients" doc:"Connections that have logged in"`
	Identities  int      `json:"identities" doc:"Identities that are connected"`
	QueuedBytes int64    `json:"queued_bytes" doc:"Pushes that wait for slow clients"`
}

// MediaUsage is the space that the files of messages take.
type MediaUsage struct {
	Used  int64 `json:"used_bytes"`
	Quota int64 `json:"quota_bytes"`
}

// Warning is something a person should look at.
type Warning = warnings.Warning

func accountOf(n *node.Node, a store.Account) (Account, error) {
	waiting, err := n.Waiting(a.ID)
	return Account{
		ID: a.ID.String(), Name: a.Name, Info: a.Info, Link: n.Link(a).String(), Avatar: len(a.Avatar),
		Role: a.Role.String(), ForwardTo: hexOf(a.ForwardTo), ForwardGroups: a.ForwardGroups, Greeting: float64(a.Greeting) / 1000,
		Strangers: a.Strangers.String(), Created: a.Created.Time(), Waiting: waiting,
	}, err
}

// hexOf writes a key, "" when there is none.
func hexOf(k identity.PublicKey) string {
	if k.IsZero() {
		return ""
	}
	return k.String()
}

func contactOf(n *node.Node, c store.Contact) Contact {
	p := n.Presence(c.Account, c.ID)
	out := Contact{
		ID: c.ID.String(), Name: c.DisplayName(), Nickname: c.Nickname, State: c.State.String(),
		Info: c.Info, Avatar: len(c.Avatar), Muted: c.Muted, Request: c.Request, Requested: c.Requested.Time(),
		Online: p.Online, LastSeen: c.LastSeen.Time(), NextAttempt: p.NextAttempt, LastError: p.LastError, Held: heldOf(n, c),
	}
	if c.Asked != store.AskNone {
		out.Asked = c.Asked.String()
	}
	if p.Online {
		out.Node = p.Node.String()
	}
	return out
}

// message is messageOf, with the state of the message's file and the message that it refers
// to.
func (s *service) message(m store.Message) Message {
	out := messageOf(m)
	out.RefersTo = s.refersTo(m)
	if out.TypeName == "system" && m.Conversation.Kind() == store.KindGroup {
		out.Text = eventlog.SystemText(m.Payload, func(k identity.PublicKey) string {
			return cmp.Or(s.memberName(m.Account, m.Conversation, k), k.Short())
		}, strings.TrimSpace)
	}
	if !m.Author.IsZero() {
		out.AuthorName = s.memberName(m.Account, m.Conversation, m.Author)
	}
	if eventlog.HasFile(m) {
		if info, err := s.node.ConversationMedia(m.Account, m.Conversation, m.ID); err == nil {
			file := fileOf(info)
			out.File = &file
		}
	}
	return out
}

func messageOf(m store.Message) Message {
	out := Message{
		ID: m.ID.String(), GUID: strconv.FormatInt(m.ID.GUID, 10), Contact: m.Conversation.String(), Direction: "in",
		Order: m.Order, Type: m.Type, TypeName: eventlog.TypeName(m), Sent: m.SendTime.Time(), Stored: m.Created.Time(),
		State: m.State.String(), Since: m.StateTime.Time(), Reason: m.Reason,
	}
	if m.ID.Dir == store.Out {
		out.Direction = "out"
	}
	if m.Conversation.Kind() == store.KindGroup {
		out.Contact, out.Group = "", m.Conversation.String()
		out.Unreadable, out.Deleted = m.Unreadable, m.Deleted
		if !m.Author.IsZero() {
			out.Author = m.Author.String()
		}
	}
	if m.ReplyTo != 0 {
		out.ReplyTo = strconv.FormatInt(m.ReplyTo, 10)
	}
	text, isText := eventlog.Text(m)
	if out.Text = text; !isText {
		out.Payload = m.Payload
	}
	if r, ok := eventlog.Reaction(m); ok {
		out.Reaction = &ReactionTo{Target: strconv.FormatInt(int64(r.Target), 10), Emoji: r.Emoji}
	}
	return out
}

func overlayOf(s overlay.Status, running bool) Overlay {
	out := Overlay{Running: running, Listening: s.Listening, Peers: []Peer{}, Spares: s.Spares}
	for _, p := range s.Peers {
		view := Peer{
			URI: p.URI, Up: p.Up, Inbound: p.Inbound, LatencyMS: milliseconds(p.Latency),
			UptimeS: int64(p.Uptime / time.Second), RX: p.RX, TX: p.TX,
		}
		if p.LastError != nil && !p.Up {
			view.Error = p.LastError.Error()
		}
		out.Peers = append(out.Peers, view)
	}
	return out
}

func trackerOf(t resolver.TrackerStatus) Tracker {
	return Tracker{
		Address: t.Address.String(), Answers: t.Answers, LatencyMS: milliseconds(t.Latency),
		Announced: t.AnnouncedUntil, Last: t.LastAnswer,
	}
}

func oldTrackerOf(t resolver.TrackerV1Status) TrackerV1 {
	out := TrackerV1{Address: t.Tracker.String(), Answers: t.Err == nil && !t.LastAnswer.IsZero(), Last: t.LastAnswer}
	if t.Err != nil {
		out.Error = t.Err.Error()
	}
	return out
}

func milliseconds(d time.Duration) float64 {
	return float64(d.Round(10*time.Microsecond)) / float64(time.Millisecond)
}

// Text is a text to be sent.
type Text struct {
	Text string `json:"text" minLength:"1" maxLength:"1048576"`
	// ReplyTo is the guid of a message to quote, "" for none.
	ReplyTo string `json:"reply_to,omitempty" doc:"Guid of the message to quote, decimal"`
	// Source makes it safe to repeat the call; "" for a new message every time.
	Source string `json:"source,omitempty" maxLength:"200" doc:"Makes the request safe to repeat: the same source of an account queues one message; in another conversation it is refused"`
}
