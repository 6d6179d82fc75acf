// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime"
	"path"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// What apps show a voice message for.
const (
	voiceName = "voice_message.m4a"
	voiceType = "audio/mp4"
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
	// media.Unknown when nobody knows.
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
// cannot be lost: it is uploaded to the file server, and then sent. What is queued
// after it for the same contact is sent after it, unless the upload takes longer
// than MediaOptions.Patience.
//
// Errors: those of [Node.Send], [ErrFileEmpty], [ErrFileTooLarge], media.ErrFull,
// media.ErrDiskFull, and those of reading Body.
func (n *Node) SendFile(ctx context.Context, f OutgoingFile) (store.Message, error) {
	if err := n.maySend(f.Account, f.Contact); err != nil {
		return store.Message{}, err
	}
	w, err := n.env.media.Create()
	if err != nil {
		return store.Message{}, fmt.Errorf("send file: %w", err)
	}
	defer w.Discard()
	most := n.opts.Media.MaxFile
	switch size, err := io.Copy(w, io.LimitReader(ctxReader{ctx, f.Body}, most+1)); {
	case err != nil:
		return store.Message{}, fmt.Errorf("send file: %w", err)
	case size == 0:
		return store.Message{}, ErrFileEmpty
	case size > most:
		return store.Message{}, fmt.Errorf("send file: %w: at most %d bytes", ErrFileTooLarge, most)
	}
	// Until there is a row for it, nobody may take it for a file that has none.
	defer n.env.placements.place(w.Sum())()
	info, err := w.Commit()
	if err != nil {
		return store.Message{}, fmt.Errorf("send file: %w", err)
	}
	crashpoint.At(crashpoint.BeforeFileRow)
	kind, description := f.describe(info)
	queued, err := do[store.Enqueued](ctx, n, store.EnqueueFile{
		Message: n.enqueueOf(Outgoing{
			Account: f.Account, Contact: f.Contact, Source: f.Source, Type: kind,
			ReplyTo: f.ReplyTo, Payload: description.AppendTo(nil), SendTime: f.SendTime,
		}),
		Media: store.Media{Hash: info.Hash, Size: info.Size, MIMEType: info.MIMEType},
	})
	if err != nil {
		return store.Message{}, fmt.Errorf("send file: %w", err)
	}
	return queued.Message, nil
}

// describe makes the description of a file as it is before the upload: key, hash
// and server are not known yet.
func (f OutgoingFile) describe(info media.Info) (peer.MessageType, peer.Attachment) {
	claimed, _, err := mime.ParseMediaType(f.MIMEType)
	if err != nil || len(claimed) > wire.MaxMIMEType || claimed == media.Unknown {
		claimed = info.MIMEType
	}
	a := peer.Attachment{
		Size: info.Size, Text: wire.CutText(strings.ToValidUTF8(f.Caption, "\ufffd"), wire.MaxCaption),
		OriginalName: cleanName(f.Name), MIMEType: claimed,
	}
	kind := peer.TypeFile
	switch {
	case f.Voice:
		a.OriginalName, a.MIMEType = voiceName, voiceType
	case showsPicture(info.MIMEType):
		kind, a.MIMEType = peer.TypeImage, ""
	}
	a.Name = randomName() + nameEnding(a.OriginalName, info.MIMEType)
	return kind, a
}

// cleanName makes a name of a file of what somebody calls it.
func cleanName(s string) string {
	if s == "" {
		return ""
	}
	return peer.Attachment{OriginalName: wire.CutText(strings.ToValidUTF8(s, ""), wire.MaxFileName)}.FileName()
}

// showsPicture reports whether apps show a file of that type as a picture.
func showsPicture(mimeType string) bool {
	switch mimeType {
	case "image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp":
		return true
	}
	return false
}

// randomName is how apps name a file on the wire: nobody should see more in it.
func randomName() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return base32.StdEncoding.EncodeToString(b[:])
}

// nameEnding returns the ending of a name, with its dot, which tells apps how to
// open the file.
func nameEnding(name, mimeType string) string {
	ending := path.Ext(name)
	if len(ending) > 1 && len(ending) <= 16 && !strings.ContainsFunc(ending[1:], func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) {
		return ending
	}
	switch mimeType {
	case "image/jpeg":
		return ".jpg"
	case "image/png", "image/gif", "image/webp", "image/bmp":
		return "." + strings.TrimPrefix(mimeType, "image/")
	}
	return ".bin"
}

// MediaState returns what is known of the file of a message. It fails with
// [ErrNoMedia] when the message has none. A change of the state is an event,
// store.MediaChanged; progress in between is not.
func (n *Node) MediaState(account, contact identity.PublicKey, id store.MessageID) (MediaInfo, error) {
	_, info, err := n.mediaOf(account, contact, id)
	return info, err
}

func (n *Node) mediaOf(account, contact identity.PublicKey, id store.MessageID) (store.Media, MediaInfo, error) {
	msg, err := n.store.Message(account, contact, id)
	if err != nil {
		return store.Media{}, MediaInfo{}, err
	}
	a, err := peer.ParseAttachment(msg.Payload)
	if err != nil || !hasFile(msg) {
		return store.Media{}, MediaInfo{}, ErrNoMedia
	}
	m, err := n.store.Media(account, contact, id)
	if errors.Is(err, store.ErrNotFound) { // older than the rows for files
		m, err = store.Media{Account: account, Contact: contact, Message: id, Size: a.Size}, nil
	}
	if err != nil {
		return store.Media{}, MediaInfo{}, err
	}
	info := MediaInfo{
		Account: account, Contact: contact, Message: id, State: m.State, Name: a.FileName(), MIMEType: m.MIMEType,
		Size: m.Size, Hash: m.Hash, Caption: a.Text, Picture: peer.MessageType(msg.Type) == peer.TypeImage, Reason: m.Reason,
		Voice: a.OriginalName == voiceName && a.MIMEType == voiceType,
	}
	switch m.State {
	case store.MediaUploading, store.MediaDownloading:
		info.Done = n.env.progress.of(transferName(m))
	case store.MediaStored:
	default:
		info.Hash = media.Hash{}
	}
	if info.MIMEType == "" {
		info.MIMEType = claimedType(a, info.Picture)
	}
	return m, info, nil
}

// claimedType is what the sender takes a file for.
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

// OpenMedia opens the file of a message; the caller closes it. It fails with
// [ErrNoMedia], or with [ErrMediaElsewhere] when the file is not here: the info
// says why, and FetchMedia may get it. A file that is damaged on the disk is not
// here, and is fetched again; if that turns out only while it is read, reading fails
// with media.ErrDamaged before its end.
func (n *Node) OpenMedia(account, contact identity.PublicKey, id store.MessageID) (io.ReadSeekCloser, MediaInfo, error) {
	_, info, err := n.mediaOf(account, contact, id)
	if err != nil {
		return nil, info, err
	}
	if info.State != store.MediaStored && info.State != store.MediaUploading {
		return nil, info, ErrMediaElsewhere
	}
	f, err := n.env.media.Open(info.Hash)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, media.ErrDamaged) {
		return nil, info, ErrMediaElsewhere
	}
	if err != nil {
		return nil, info, err
	}
	return f, info, nil
}

// FetchMedia asks for the file of a message, whatever its size (up to
// MediaOptions.MaxFile) and whoever sent it, and also again after a failure. It
// returns at once; what becomes of it is told as by MediaState. For a file that is
// here it changes nothing.
func (n *Node) FetchMedia(ctx context.Context, account, contact identity.PublicKey, id store.MessageID) (MediaInfo, error) {
	m, info, err := n.mediaOf(account, contact, id)
	if err != nil {
		return info, err
	}
	from := m.State
	switch from {
	case store.MediaUploading:
		return info, nil
	case store.MediaStored:
		if n.env.media.Has(m.Hash) {
			return info, nil
		}
	case store.MediaDownloading:
		if m.Asked && m.Attempts == 0 {
			return info, nil
		}
	}
	m.State, m.Asked, m.Attempts, m.Due, m.Reason = store.MediaDownloading, true, 0, n.env.nowMillis(), ""
	if _, err := do[bool](ctx, n, store.ChangeMedia{From: from, Media: m}); err != nil {
		return info, fmt.Errorf("fetch file: %w", err)
	}
	return n.MediaState(account, contact, id)
}

// MediaUsage returns how many bytes the files of all messages take, and how many
// they may.
func (n *Node) MediaUsage() (used, quota int64) { return n.env.media.Used() }
