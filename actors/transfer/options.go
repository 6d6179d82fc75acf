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
// MediaOptions.MaxFile.
const Always = math.MaxInt64

// Never as a limit of automatic downloads means: only when somebody asks.
const Never = -1

// Options configures the files of messages.
type Options struct {
	// Server takes the files that are sent. Zero: files wait until there is one.
	Server identity.NodeKey
	// KnownServersOnly fetches files from no other server. Otherwise the sender of a
	// file chooses the server; we log in there as nobody in particular, but it learns
	// our node key and that we are there.
	KnownServersOnly bool
	// Quota is the room for all files. Default media.DefaultQuota.
	Quota int64
	// MaxFile is the largest file in either direction. Default 100 MiB.
	MaxFile int64
	// AutoDownload is up to which size a contact's file is fetched without being
	// asked for, AutoDownloadStrangers that of somebody who is not accepted. Defaults
	// 5 MiB, as in the apps, and MediaNever.
	AutoDownload          int64
	AutoDownloadStrangers int64
	// TrustUploads sends a file's message as soon as the server says that it has the
	// file. Otherwise what it has is read back before, which doubles the traffic: the
	// public server was seen to spoil one.
	TrustUploads bool
	// Patience is how long other messages wait behind a file that is being uploaded.
	// Default 5 min.
	Patience time.Duration
	// Parallel bounds the files that are moved at once. Default 4.
	Parallel int
	// Consumers of the event log who must have seen a file before it may be removed
	// to make room.
	Consumers []string
}

// WithDefaults returns the options with the defaults in the place of what is not set.
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
	if o.Parallel <= 0 {
		o.Parallel = 4
	}
	return o
}

// Incoming returns the row of a file that has come in, of an accepted contact if known:
// whether it is fetched at once is decided by the sender's word.
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
		// It is here already, inside of the message; what is decided is whether it is
		// copied.
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
