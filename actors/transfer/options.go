// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"math"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Always as a limit of automatic downloads means: whatever the size, up to
// Options.MaxFile.
const Always = math.MaxInt64

// Never as a limit of automatic downloads means: only when somebody asks.
const Never = -1

// Options configures the files of messages.
type Options struct {
	// Server gets the uploads. When it is zero, files stay in the outbox.
	Server identity.NodeKey
	// KnownServersOnly fetches files from Server alone. Otherwise the sender of a file
	// chooses the server; we log in there with an identity that is used once, but it
	// learns our node key and that we are online.
	KnownServersOnly bool
	// Quota bounds the bytes of all files. Default 4 GiB.
	Quota int64
	// MaxFile is the largest file in either direction. Default 100 MiB.
	MaxFile int64
	// AutoDownload is the size up to which the file of an accepted contact is fetched
	// automatically, AutoDownloadStrangers that of others. Defaults: 5 MiB, as in the
	// apps, and Never.
	AutoDownload          int64
	AutoDownloadStrangers int64
	// TrustUploads sends the message of a file as soon as the server confirms the
	// upload. Otherwise the file is read back before, which doubles the traffic: the
	// public server was seen to corrupt one.
	TrustUploads bool
	// Patience is how long messages are not sent before a file that is being uploaded.
	// Default 5 min.
	Patience time.Duration
	// Consumers are the consumers of the event log that must have seen a file before it
	// may be evicted.
	Consumers []string
}

// WithDefaults returns the options with the defaults of the fields that are not set.
func (o Options) WithDefaults() Options {
	if o.MaxFile <= 0 {
		o.MaxFile = 100 << 20
	}
	if o.AutoDownload == 0 {
		o.AutoDownload = 5 << 20
	}
	if o.AutoDownloadStrangers == 0 {
		o.AutoDownloadStrangers = Never
	}
	if o.Patience <= 0 {
		o.Patience = 5 * time.Minute
	}
	return o
}

// Incoming returns the row of the file of a received message. known says that the sender
// is an accepted contact. Whether it is fetched at once depends on the size that the
// sender says.
func (o Options) Incoming(a peer.Attachment, known bool, now store.Millis) *store.Media {
	limit := o.AutoDownloadStrangers
	if known {
		limit = o.AutoDownload
	}
	m := &store.Media{State: store.MediaOffered, Size: a.Size}
	switch {
	case !a.Downloadable():
		m.State, m.Reason = store.MediaFailed, errIncomplete.Error()
	case a.Form == peer.FormInline:
		// The file is inside the message. Up to the limit it is copied to the media store.
		if m.Size = int64(len(a.Data)); m.Size <= limit {
			m.State = store.MediaDownloading
		}
	case a.Size > 0 && a.Size <= limit && a.Size <= o.MaxFile:
		m.State = store.MediaDownloading
	}
	if m.State == store.MediaDownloading {
		m.Due = now
	}
	return m
}
