// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"mime"
	"path"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Deps is what a [Service] uses.
type Deps struct {
	// Dir is the directory of the files.
	Dir string
	// Store is for reading. Writer returns the actor that writes to it, zero until
	// the node is started.
	Store  *store.Store
	Writer func() kernel.Ref
	// Key returns the key of an account that is served here. Guard says which values
	// it must not sign.
	Key     func(account identity.PublicKey) (identity.PrivateKey, bool)
	Guard   identity.Guard
	Network Network
	Log     *slog.Logger
	// Now is the wall clock, for what is stored.
	Now func() time.Time
	// ReadOnly opens the files of a node that is never started.
	ReadOnly bool
	Options  Options
}

// Network is the network that runs at the moment.
type Network interface {
	// Carrier returns the carrier of a kind; false while there is none.
	Carrier(kind overlay.Kind) (overlay.Carrier, bool)
	// Up reports whether there are links.
	Up() bool
}

// Service has the files of messages: it keeps them in the media store within a quota,
// and moves them to and from file servers and contacts. Its methods are safe for
// concurrent use. An actor must not call those that wait for the disk or the store;
// their comments say so.
type Service struct {
	deps  Deps
	media *media.Store

	placements  *placements
	progress    *progressTable
	fetches     *fetchTable
	unreachable *unreachableServers
}

// Open opens the media store and returns the service. The caller closes it.
func Open(deps Deps) (*Service, error) {
	deps.Options = deps.Options.WithDefaults()
	s := &Service{
		deps: deps, placements: newPlacements(), progress: newProgressTable(), fetches: newFetchTable(), unreachable: newUnreachableServers(),
	}
	var err error
	s.media, err = media.Open(media.Options{
		Dir: deps.Dir, Quota: deps.Options.Quota, Evict: s.evictBytes, DiskLow: deps.Store.DiskLow,
		OnDamage: s.fileDamaged, ReadOnly: deps.ReadOnly,
	})
	return s, err
}

// Close closes the media store. The actor of [NewActor] has to be stopped before.
func (s *Service) Close() error { return s.media.Close() }

// Usage returns how many bytes the files of all messages have, and the quota.
func (s *Service) Usage() (used, quota int64) { return s.media.Used() }

func (s *Service) nowMillis() store.Millis { return store.MillisOf(s.deps.Now()) }

// Info is what is known of the file of a message.
type Info struct {
	Account      identity.PublicKey
	Conversation store.ConversationID
	// Contact is whose conversation it is, zero for a group.
	Contact identity.PublicKey
	Message store.MessageID
	State   store.MediaState
	// Name is a name that may be offered to a person. It is not a path.
	Name string
	// MIMEType is that of the content once the file is here, before that what the sender
	// says; media.Unknown when neither says.
	MIMEType string
	// Size is what the sender says until the file is here; 0 when that is unknown.
	Size int64
	// Hash is the hash of the content, zero until the file is here.
	Hash    media.Hash
	Caption string
	Picture bool // sent as a picture
	Voice   bool // a voice message
	// Done is the number of bytes transferred so far in an upload or download.
	Done int64
	// Reason says why the last attempt failed, "" when none has.
	Reason string
	// Next is when the service retries an upload or download that failed; zero when it runs.
	Next time.Time
}

// State returns what is known of the file of a message. It fails with [ErrNoMedia]
// when the message has none. A change of the state is an event, store.MediaChanged;
// progress in between is not.
func (s *Service) State(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (Info, error) {
	_, info, err := s.stateOf(account, conversation, id)
	return info, err
}

func (s *Service) stateOf(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (store.Media, Info, error) {
	msg, err := s.deps.Store.Message(account, conversation, id)
	if err != nil {
		return store.Media{}, Info{}, err
	}
	a, err := peer.ParseAttachment(msg.Payload)
	if err != nil || !eventlog.HasFile(msg) {
		return store.Media{}, Info{}, ErrNoMedia
	}
	m, err := s.deps.Store.Media(account, conversation, id)
	if errors.Is(err, store.ErrNotFound) { // a message from before there were rows of files
		m, err = store.Media{Account: account, Conversation: conversation, Message: id, Size: a.Size}, nil
	}
	if err != nil {
		return store.Media{}, Info{}, err
	}
	info := Info{
		Account: account, Conversation: conversation, Contact: conversation.Contact(), Message: id, State: m.State, Name: a.FileName(), MIMEType: m.MIMEType,
		Size: m.Size, Hash: m.Hash, Caption: a.Text, Picture: peer.MessageType(msg.Type) == peer.TypeImage, Reason: m.Reason,
		Voice: a.OriginalName == voiceName && a.MIMEType == voiceType,
	}
	switch m.State {
	case store.MediaUploading, store.MediaDownloading:
		info.Done = s.progress.of(transferName(m))
		if m.Attempts > 0 && m.Due > s.nowMillis() {
			info.Next = m.Due.Time()
		}
	case store.MediaStored:
	default:
		info.Hash = media.Hash{}
	}
	if info.MIMEType == "" {
		info.MIMEType = claimedType(a, info.Picture)
	}
	return m, info, nil
}

// claimedType is the MIME type that the sender says.
func claimedType(a peer.Attachment, picture bool) string {
	if claimed, _, err := mime.ParseMediaType(a.MIMEType); err == nil {
		return claimed
	}
	if byName, _, err := mime.ParseMediaType(mime.TypeByExtension(path.Ext(a.FileName()))); err == nil {
		return byName
	}
	if picture {
		return "image/jpeg"
	}
	return media.Unknown
}

// Open opens the file of a message; the caller closes it. It fails with [ErrNoMedia],
// or with [ErrMediaElsewhere] when the file is not here: the info says why, and Fetch
// may get it. A file that is damaged on the disk is not here, and is fetched again; if
// that turns out only while it is read, reading fails with media.ErrDamaged before its
// end. It reads from the disk.
func (s *Service) Open(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (io.ReadSeekCloser, Info, error) {
	_, info, err := s.stateOf(account, conversation, id)
	if err != nil {
		return nil, info, err
	}
	if info.State != store.MediaStored && info.State != store.MediaUploading {
		return nil, info, ErrNotHere
	}
	f, err := s.media.Open(info.Hash)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, media.ErrDamaged) {
		return nil, info, ErrNotHere
	}
	if err != nil {
		return nil, info, err
	}
	return f, info, nil
}

// Fetch queues the download of the file of a message, of any size up to
// Options.MaxFile and from any sender, also after a failure. It waits for the store, not
// for the file: State says how far it is. A file that is here is not fetched again. The
// node has to be started.
func (s *Service) Fetch(ctx context.Context, account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (Info, error) {
	m, info, err := s.stateOf(account, conversation, id)
	if err != nil {
		return info, err
	}
	from := m.State
	switch from {
	case store.MediaUploading:
		return info, nil
	case store.MediaStored:
		if s.media.Has(m.Hash) {
			return info, nil
		}
	case store.MediaDownloading:
		if m.Asked && m.Attempts == 0 {
			return info, nil
		}
	}
	m.State, m.Asked, m.Attempts, m.Due, m.Reason = store.MediaDownloading, true, 0, s.nowMillis(), ""
	if _, err := writeFor[bool](ctx, s, store.ChangeMedia{From: from, Media: m}); err != nil {
		return info, fmt.Errorf("fetch file: %w", err)
	}
	return s.State(account, conversation, id)
}

// Hold keeps every file of the media store until the caller calls release. It waits
// while a file is being removed.
func (s *Service) Hold() (release func()) { return s.placements.hold() }

// LinkTo links or copies at most so many files into the directory of another media
// store, the needed and the newest first. left says, one phrase each, what was left out.
// The caller holds the files, see Hold. LinkTo reads all rows and writes to the disk.
func (s *Service) LinkTo(dir string, most int) (left []string, err error) {
	found, err := s.mediaInUse()
	if err != nil {
		return nil, err
	}
	slices.Reverse(found) // newest first
	slices.SortStableFunc(found, func(a, b *candidate) int {
		switch {
		case a.needed == b.needed:
			return 0
		case a.needed:
			return -1
		}
		return 1
	})
	if more := len(found) - most; more > 0 {
		left = append(left, fmt.Sprintf("%d files of messages, the oldest", more))
		found = found[:most]
	}
	for _, file := range found {
		if err := s.media.LinkTo(dir, file.hash); err != nil {
			return nil, err
		}
	}
	return left, nil
}
