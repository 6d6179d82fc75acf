// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"crypto/rand"
	"encoding/base32"
	"fmt"
	"io"
	"mime"
	"path"
	"strings"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Apps show a file with this name and type as a voice message.
const (
	voiceName = "voice_message.m4a"
	voiceType = "audio/mp4"
)

// File is a file to be sent.
type File struct {
	// Body is read to its end, or until the file is too large.
	Body io.Reader
	// Name is what the contact sees; only its last element counts. "" is possible.
	Name string
	// MIMEType is the type that the sender says; "" means that of the content. Pictures
	// that apps can show are sent as pictures, everything else as a file.
	MIMEType string
	// Caption is the text that belongs to the file.
	Caption string
	// Voice sends an audio file in such a way that apps show a voice message.
	Voice bool
}

// Send puts a message with a file into the outbox; m is the message without type and
// payload. When it returns without an error the file cannot be lost: it is uploaded to
// the file server, and then sent. Messages that are queued after it for the same contact
// are sent after it, unless the upload takes longer than Options.Patience. Send reads
// f.Body and waits for the disk and the store. The node has to be started.
//
// Errors: [ErrFileEmpty], [ErrFileTooLarge], media.ErrFull, media.ErrDiskFull, those of
// reading f.Body, and those of store.EnqueueFile.
func (s *Service) Send(ctx context.Context, m store.EnqueueMessage, f File) (store.Message, error) {
	w, err := s.media.Create()
	if err != nil {
		return store.Message{}, fmt.Errorf("send file: %w", err)
	}
	defer w.Discard()
	most := s.deps.Options.MaxFile
	switch size, err := io.Copy(w, io.LimitReader(ctxReader{ctx, f.Body}, most+1)); {
	case err != nil:
		return store.Message{}, fmt.Errorf("send file: %w", err)
	case size == 0:
		return store.Message{}, ErrFileEmpty
	case size > most:
		return store.Message{}, fmt.Errorf("send file: %w: at most %d bytes", ErrFileTooLarge, most)
	}
	// Until its row is written the file must not be removed as an orphan.
	defer s.placements.place(w.Sum())()
	info, err := w.Commit()
	if err != nil {
		return store.Message{}, fmt.Errorf("send file: %w", err)
	}
	crashpoint.At(crashpoint.BeforeFileRow)
	kind, description := f.describe(info)
	m.Type, m.Payload = int32(kind), description.AppendTo(nil)
	queued, err := writeFor[store.Enqueued](ctx, s, store.EnqueueFile{
		Message: m, Media: store.Media{Hash: info.Hash, Size: info.Size, MIMEType: info.MIMEType},
	})
	if err != nil {
		return store.Message{}, fmt.Errorf("send file: %w", err)
	}
	return queued.Message, nil
}

// writeFor has the store carry out an operation for a caller of the service. The store
// carries it out also when ctx ends meanwhile.
func writeFor[R any](ctx context.Context, s *Service, op store.Op) (R, error) {
	var none R
	if err := ctx.Err(); err != nil {
		return none, err
	}
	return store.Do[R](context.WithoutCancel(ctx), s.deps.Writer(), op)
}

// describe returns the type and the description of a file before its upload: key, hash
// and server are not known yet.
func (f File) describe(info media.Info) (peer.MessageType, peer.Attachment) {
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
	case media.IsPicture(info.MIMEType):
		kind, a.MIMEType = peer.TypeImage, ""
	}
	a.Name = randomName() + nameEnding(a.OriginalName, info.MIMEType)
	return kind, a
}

// cleanName returns a valid name for a file.
func cleanName(s string) string {
	if s == "" {
		return ""
	}
	return peer.Attachment{OriginalName: wire.CutText(strings.ToValidUTF8(s, ""), wire.MaxFileName)}.FileName()
}

// randomName returns a name for the wire, in the form of the apps, which says nothing
// about the file.
func randomName() string {
	var b [10]byte
	_, _ = rand.Read(b[:]) // never fails, see crypto/rand
	return base32.StdEncoding.EncodeToString(b[:])
}

// nameEnding returns the extension of a name, with its dot. Apps use it to choose how to
// open the file.
func nameEnding(name, mimeType string) string {
	ending := path.Ext(name)
	if len(ending) > 1 && len(ending) <= 16 && !strings.ContainsFunc(ending[1:], func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < 'A' || r > 'Z') && (r < '0' || r > '9')
	}) {
		return ending
	}
	switch {
	case mimeType == "image/jpeg":
		return ".jpg"
	case media.IsPicture(mimeType):
		return "." + strings.TrimPrefix(mimeType, "image/")
	}
	return ".bin"
}
