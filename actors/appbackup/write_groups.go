// SPDX-License-Identifier: MPL-2.0

package appbackup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

// GroupDetails is what a backup says of a group beside how to reach and read it.
type GroupDetails struct {
	Description string
	Avatar      []byte
	Created     time.Time
	// Last is the number of the last message, as the mediator counts, up to which the
	// backup has them all. The app asks the mediator for what came after it.
	Last int64
	// ReadOnly says that the account may not write any more.
	ReadOnly bool
	Members  []Member
}

// Member is somebody who is or was in a group.
type Member struct {
	Key         identity.PublicKey
	Name, Info  string
	Permissions mediator.Permissions
	Since       time.Time
	// Gone says that the member has left or was banned.
	Gone bool
}

// groupTables are those that the app has for each group; %[1]d is its chat.
var groupTables = []string{
	"CREATE TABLE members_%[1]d (id INTEGER PRIMARY KEY AUTOINCREMENT, pubkey BLOB, nickname TEXT, info TEXT, avatar TEXT, permissions INTEGER NOT NULL DEFAULT 16, joined_at INTEGER NOT NULL, updated INTEGER NOT NULL DEFAULT 0, banned BOOL DEFAULT 0, online BOOL DEFAULT 0, gone BOOL DEFAULT 0, last_seen INTEGER NOT NULL DEFAULT 0)",
	"CREATE TABLE messages_%[1]d (id INTEGER PRIMARY KEY AUTOINCREMENT, msg_id INTEGER, guid INTEGER NOT NULL, senderId INTEGER NOT NULL, incoming BOOL DEFAULT 1, timestamp INTEGER NOT NULL, type INTEGER DEFAULT 1, system BOOL DEFAULT 0, data BLOB, delivered BOOL DEFAULT 0, read BOOL DEFAULT 0, replyTo INTEGER DEFAULT 0)",
	"CREATE INDEX idx_messages_%[1]d_msg_id ON messages_%[1]d(msg_id)",
	"CREATE INDEX idx_messages_%[1]d_guid ON messages_%[1]d(guid)",
}

const (
	// systemSender is the sender of what the mediator reports, systemType its type.
	systemSender = -1
	systemType   = 1000
	// undecryptable is what the app shows in place of a message that it cannot decrypt.
	undecryptable = "<Can't decrypt the message>"
)

// GroupWriter adds the messages of one group, in their order: the app shows them as they
// come. It belongs to its [Writer].
type GroupWriter struct {
	w    *Writer
	chat int64
	// members are the numbers of the members in the app's table.
	members map[identity.PublicKey]int64
}

// Group adds a group with its members. Its chat is above 0.
func (w *Writer) Group(ctx context.Context, g Group, d GroupDetails) (*GroupWriter, error) {
	if g.Chat <= 0 {
		return nil, errors.New("the group has no id")
	}
	picture, err := w.picture(fmt.Sprintf("group%d", g.Chat), d.Avatar)
	if err != nil {
		return nil, err
	}
	for _, statement := range groupTables {
		if _, err := w.tx.ExecContext(ctx, fmt.Sprintf(statement, g.Chat)); err != nil {
			return nil, fmt.Errorf("create tables of group %d: %w", g.Chat, err)
		}
	}
	out := &GroupWriter{w: w, chat: g.Chat, members: make(map[identity.PublicKey]int64)}
	var owner identity.PublicKey
	for _, m := range d.Members {
		if m.Permissions.HasAny(mediator.PermissionOwner) && !m.Gone {
			owner = m.Key
		}
		if err := out.member(ctx, m); err != nil {
			return nil, err
		}
	}
	_, err = w.tx.ExecContext(ctx, "INSERT INTO group_chats (chat_id, name, description, avatar, mediator_pubkey, owner_pubkey, shared_key, created_at, updated_at, last_msg_id, muted, read_only) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
		g.Chat, g.Name, d.Description, picture, g.Mediator[:], owner[:], g.Key[:], d.Created.Unix(), time.Now().Unix(), d.Last, g.Muted, d.ReadOnly)
	if err != nil {
		return nil, fmt.Errorf("write group %d: %w", g.Chat, err)
	}
	return out, nil
}

// member adds somebody. The time of the profile is 0, so that the app asks for the picture.
func (g *GroupWriter) member(ctx context.Context, m Member) error {
	banned := m.Permissions.HasAny(mediator.PermissionBanned)
	result, err := g.w.tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO members_%d (pubkey, nickname, info, permissions, joined_at, banned, gone) VALUES (?, ?, ?, ?, ?, ?, ?)", g.chat),
		m.Key.String(), m.Name, m.Info, int64(m.Permissions), m.Since.Unix(), banned, m.Gone || banned)
	if err != nil {
		return fmt.Errorf("write member of group %d: %w", g.chat, err)
	}
	g.members[m.Key], err = result.LastInsertId()
	return err
}

// GroupMessage is one message in a group.
type GroupMessage struct {
	Message
	// Author is zero for the mediator, whose payload is the event that it reports.
	Author identity.PublicKey
	// Unreadable says that it could not be decrypted.
	Unreadable bool
}

// Message adds a message; file is as in [Writer.Message].
func (g *GroupWriter) Message(ctx context.Context, m GroupMessage, file func() (io.ReadCloser, error)) error {
	system := m.Author == identity.PublicKey{}
	if system && len(m.Payload) > 0 && mediator.Event(m.Payload[0]) == mediator.EventMessageDeleted {
		return nil // the app acts on it and does not store it
	}
	sender := int64(systemSender)
	if !system {
		if _, known := g.members[m.Author]; !known { // somebody of whom the node knows nothing else
			if err := g.member(ctx, Member{Key: m.Author, Permissions: mediator.PermissionUser, Since: m.Sent, Gone: true}); err != nil {
				return err
			}
		}
		sender = g.members[m.Author]
	}
	switch {
	case system:
		m.Type = systemType
	case m.Unreadable:
		m.Type, m.Payload = 0, []byte(undecryptable)
	default:
		if readable, err := g.w.attach(&m.Message, file); !readable || err != nil {
			return err
		}
	}
	_, err := g.w.tx.ExecContext(ctx, fmt.Sprintf("INSERT INTO messages_%d (guid, senderId, incoming, timestamp, type, system, data, delivered, read, replyTo) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 1, ?)", g.chat),
		m.GUID, sender, m.Incoming, m.Sent.UnixMilli(), m.Type, system, m.Payload, m.Incoming || m.Delivered, m.ReplyTo)
	if err != nil {
		return fmt.Errorf("write message of group %d: %w", g.chat, err)
	}
	_, err = g.w.tx.ExecContext(ctx, "UPDATE group_chats SET last_message_time = max(last_message_time, ?) WHERE chat_id = ?", m.Sent.UnixMilli(), g.chat)
	return err
}
