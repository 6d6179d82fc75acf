// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"context"
	"io"
	"time"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// OutgoingFile is a file to be sent.
type OutgoingFile struct {
	Account, Contact identity.PublicKey
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

// MediaInfo is what is known of the file of a message.
type MediaInfo struct {
	Account, Contact identity.PublicKey
	Message          store.MessageID
	State            store.MediaState
	// Name is a name that may be offered to a person. It is no path.
	Name string
	// MIMEType goes by the content once the file is here, else by the sender's word;
	// "application/octet-stream" when nobody knows.
	MIMEType string
	// Size is the sender's word until the file is here; 0 when there is none.
	Size int64
	// Hash of the content, zero until the file is here.
	Hash    media.Hash
	Caption string
	Picture bool // sent as a picture
	Voice   bool // a voice message
	// Done counts the bytes transferred so far, while it is uploading or downloading.
	Done int64
	// Reason says why the last attempt failed, "" when none has.
	Reason string
}

// SendFile puts a file into the outbox. When it returns without an error the file
// cannot be lost: it is uploaded to the file server, and then sent in its place
// among the other messages.
//
// Errors: those of [Node.Send], [ErrFileEmpty], [ErrFileTooLarge], media.ErrFull.
func (n *Node) SendFile(ctx context.Context, f OutgoingFile) (store.Message, error) {
	return store.Message{}, errNoFiles
}

// MediaState returns what is known of the file of a message. It fails with
// [ErrNoMedia] when the message has none. A change of the state is an event,
// store.MediaChanged; progress in between is not.
func (n *Node) MediaState(account, contact identity.PublicKey, id store.MessageID) (MediaInfo, error) {
	return MediaInfo{}, ErrNoMedia
}

// OpenMedia opens the file of a message; the caller closes it. It fails with
// [ErrNoMedia], or with [ErrMediaElsewhere] when the file is not here: the info
// says why, and FetchMedia may get it.
func (n *Node) OpenMedia(account, contact identity.PublicKey, id store.MessageID) (io.ReadSeekCloser, MediaInfo, error) {
	return nil, MediaInfo{}, ErrNoMedia
}

// FetchMedia asks for the file of a message, whatever its size and whoever sent
// it, and also again after a failure. It returns at once; what becomes of it is
// told as by MediaState. For a file that is here it changes nothing.
func (n *Node) FetchMedia(ctx context.Context, account, contact identity.PublicKey, id store.MessageID) (MediaInfo, error) {
	return MediaInfo{}, ErrNoMedia
}
