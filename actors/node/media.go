// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mimird/mimird/actors/transfer"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// OutgoingFile is a file to be sent.
type OutgoingFile struct {
	Account, Contact identity.PublicKey
	// Group is the group that gets the file, in place of Contact.
	Group store.ConversationID
	// Source makes sending idempotent, as in [Outgoing].
	Source string
	// Body is read to its end, or until the file is too large.
	Body io.Reader
	// Name is what the contact sees; only its last element counts. "" is possible.
	Name string
	// MIMEType is what the sender takes the file for; "" means: look at it. Pictures
	// that apps can show are sent as such, everything else as a file.
	MIMEType string
	// Caption is the text that belongs to the file.
	Caption string
	// Voice sends an audio file in such a way that apps show a voice message.
	Voice    bool
	ReplyTo  peer.GUID
	SendTime time.Time // zero means now
}

// SendFile puts a file into the outbox. When it returns without an error the file
// cannot be lost: it is uploaded to the file server, and then sent. What is queued
// after it for the same contact is sent after it, unless the upload takes longer
// than MediaOptions.Patience.
//
// Errors: those of [Node.Send], [ErrFileEmpty], [ErrFileTooLarge], media.ErrFull,
// media.ErrDiskFull, and those of reading Body.
func (n *Node) SendFile(ctx context.Context, f OutgoingFile) (store.Message, error) {
	if err := n.maySend(f.Account, conversationOf(f.Contact, f.Group)); err != nil {
		return store.Message{}, err
	}
	message := n.enqueueOf(Outgoing{
		Account: f.Account, Contact: f.Contact, Group: f.Group, Source: f.Source, ReplyTo: f.ReplyTo, SendTime: f.SendTime,
	})
	queued, err := n.files.Send(ctx, message, transfer.File{
		Body: f.Body, Name: f.Name, MIMEType: f.MIMEType, Caption: f.Caption, Voice: f.Voice,
	})
	if err != nil {
		return queued, running(err)
	}
	return inConversation(queued, message.Conversation)
}

// running returns err, or [ErrNotRunning] with it when it says that the store actor
// has stopped or was never started.
func running(err error) error {
	if errors.Is(err, kernel.ErrStopped) {
		return fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	return err
}

// MediaState returns what is known of the file of a message. It fails with
// [ErrNoMedia] when the message has none. A change of the state is an event,
// store.MediaChanged; progress in between is not.
func (n *Node) MediaState(account, contact identity.PublicKey, id store.MessageID) (transfer.Info, error) {
	return n.files.State(account, store.ContactConversation(contact), id)
}

// OpenMedia opens the file of a message; the caller closes it. It fails with
// [ErrNoMedia], or with [ErrMediaElsewhere] when the file is not here: the info
// says why, and FetchMedia may get it. A file that is damaged on the disk is not
// here, and is fetched again; if that turns out only while it is read, reading fails
// with media.ErrDamaged before its end.
func (n *Node) OpenMedia(account, contact identity.PublicKey, id store.MessageID) (io.ReadSeekCloser, transfer.Info, error) {
	return n.files.Open(account, store.ContactConversation(contact), id)
}

// FetchMedia asks for the file of a message, whatever its size (up
// to MediaOptions.MaxFile) and its sender, and also again after a failure. It
// returns at once; what becomes of it is told as by MediaState. For a file that is
// here it changes nothing.
func (n *Node) FetchMedia(ctx context.Context, account, contact identity.PublicKey, id store.MessageID) (transfer.Info, error) {
	info, err := n.files.Fetch(ctx, account, store.ContactConversation(contact), id)
	return info, running(err)
}

// Calls returns the number of calls that the answering machine has at this moment, and of
// recordings without a message.
func (n *Node) Calls() (calls, waiting int) { return n.answering.Calls() }

// MediaUsage returns how many bytes the files of all messages take, and how many
// they may.
func (n *Node) MediaUsage() (used, quota int64) { return n.files.Usage() }
