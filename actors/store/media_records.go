// SPDX-License-Identifier: MPL-2.0

package store

import (
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
)

// Media is what is known of the file of one message, in either direction. The
// file itself is in the media store, under its hash.
type Media struct {
	Account      identity.PublicKey `cbor:"-"`
	Conversation ConversationID     `cbor:"-"`
	Message      MessageID          `cbor:"-"`

	State MediaState `cbor:"1,keyasint,omitempty"`
	// Hash and Size are those of the plain file. Until it is here the size is the
	// sender's word, 0 for none, and there is no hash.
	Hash     media.Hash `cbor:"2,keyasint,omitzero"`
	Size     int64      `cbor:"3,keyasint,omitempty"`
	MIMEType string     `cbor:"4,keyasint,omitempty"` // by the content, not by the sender
	Added    Millis     `cbor:"5,keyasint,omitempty"`
	// Changed is when it came into its state, and Seq the event that says so.
	Changed Millis `cbor:"6,keyasint,omitempty"`
	Seq     uint64 `cbor:"7,keyasint,omitempty"`
	Reason  string `cbor:"8,keyasint,omitempty"` // of the last failure, for people

	// While it is uploading or downloading: when the next attempt is due, how many
	// have failed, and whether a person asked for it.
	Due      Millis `cbor:"9,keyasint,omitempty"`
	Attempts uint32 `cbor:"10,keyasint,omitempty"`
	Asked    bool   `cbor:"11,keyasint,omitempty"`

	// Of an upload: the encrypted file and where it goes. Key is as secret as the
	// file.
	FileHash files.Hash       `cbor:"12,keyasint,omitzero"`
	Key      files.Key        `cbor:"13,keyasint,omitzero"`
	Server   identity.NodeKey `cbor:"14,keyasint,omitzero"`
	Uploaded Millis           `cbor:"15,keyasint,omitempty"`
}

// MediaState is the state of the file of a message.
type MediaState uint8

const (
	// MediaOffered can be downloaded, but was not asked for.
	MediaOffered MediaState = iota
	// MediaDownloading is on its way here, or waits for its turn.
	MediaDownloading
	// MediaStored is in the media store. A file of ours is also on a file server.
	MediaStored
	// MediaFailed was given up; Reason says why.
	MediaFailed
	// MediaEvicted was in the media store and was evicted.
	MediaEvicted
	// MediaUploading is in the media store, and on its way to a file server.
	MediaUploading
)
