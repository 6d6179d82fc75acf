// SPDX-License-Identifier: MPL-2.0

package peer

import (
	"encoding/base64"
	"strings"
	"unicode"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// AttachmentForm says where the bytes of an attachment are.
type AttachmentForm uint8

// The forms of the payload of [TypeImage] and [TypeFile]. Send only the first:
// apps show nothing else in direct chats.
const (
	// FormServer: encrypted on a file server; the JSON has "key" and "server".
	FormServer AttachmentForm = iota
	// FormRequest: at the sender, to be had with a FileRequest; the JSON has
	// neither.
	FormRequest
	// FormInline: behind the JSON, which has a 4-byte length in front.
	FormInline
)

// FileKeySize is the length of the key of a file on a file server.
const FileKeySize = 32

// Attachment describes a picture, a file or a voice message.
//
// All of it is the sender's word. Parsing is lenient so that a person sees at
// least that something was sent; [Attachment.Downloadable] says whether it is
// enough to fetch the file.
type Attachment struct {
	Form AttachmentForm
	// Name is the name in the app's files folder, made of random letters. It
	// goes back to the sender in a FileRequest; never make a path of it, see
	// [Attachment.FileName].
	Name string
	// Size of the plain file in bytes, 0 when the sender does not say.
	Size int64
	// Hash is a SHA-256 in hex: of the encrypted file in FormServer, of the plain
	// one in FormRequest.
	Hash string
	// Key of the encrypted file. In groups it may be longer than [FileKeySize]:
	// it is encrypted with the group's key then. Never log it.
	Key []byte
	// Server that has the file, zero when absent or not a key, and in FormRequest.
	Server identity.NodeKey
	// OriginalName is the name that the file had on the sender's device; optional.
	OriginalName string
	// MIMEType is "" for pictures.
	MIMEType string
	// Text is the caption.
	Text string
	// Data is the file itself in FormInline. It points into the payload.
	Data []byte
}

// ParseAttachment reads the payload of a [TypeImage] or [TypeFile] message in
// each of its forms. Errors are violations; they spoil that message, not
// necessarily the session.
func ParseAttachment(payload []byte) (Attachment, error) {
	description, data, inline := payload, []byte(nil), false
	// A length of at most MaxJSON never begins with this byte.
	if len(payload) > 0 && payload[0] != '{' {
		c := wire.NewCursor(payload)
		description = c.Blob("attachment", wire.MaxJSON)
		data, inline = c.Rest(), true
		if err := c.Err(); err != nil {
			return Attachment{}, err
		}
	}
	o, err := wire.ParseObject(description)
	if err != nil {
		return Attachment{}, err
	}
	a, err := attachmentFields(o)
	if err != nil {
		return Attachment{}, err
	}
	switch {
	case inline:
		a.Form, a.Data = FormInline, data
	case !o.Has("key"):
		a.Form, a.Server = FormRequest, identity.NodeKey{}
	}
	return a, nil
}

func attachmentFields(o wire.Object) (Attachment, error) {
	var a Attachment
	var key, server string
	for _, field := range []struct {
		name  string
		limit int
		dst   *string
	}{
		{"name", wire.MaxFileName, &a.Name},
		{"hash", wire.MaxHashText, &a.Hash},
		{"originalName", wire.MaxFileName, &a.OriginalName},
		{"mimeType", wire.MaxMIMEType, &a.MIMEType},
		{"text", wire.MaxCaption, &a.Text},
		{"key", wire.MaxFileKey, &key},
		{"server", 2 * identity.KeySize, &server},
	} {
		var err error
		if *field.dst, err = o.Text(field.name, field.limit); err != nil {
			return Attachment{}, err
		}
	}
	a.Size = max(o.Int64("size"), 0)
	if raw, err := base64.StdEncoding.DecodeString(key); err == nil && len(raw) > 0 {
		a.Key = raw
	}
	if node, err := identity.ParseNodeKey(server); err == nil {
		a.Server = node
	}
	return a, nil
}

// AppendTo appends the JSON as the app writes it: always with "text", which old
// readers demand, and with "key" and "server" when there is a key. It never
// writes the inline form.
func (a Attachment) AppendTo(b []byte) []byte {
	b = append(b, `{"name":`...)
	b = wire.AppendJSONText(b, a.Name)
	b = append(b, ',')
	b = appendMember(b, "size", a.Size)
	b = append(b, `,"hash":`...)
	b = wire.AppendJSONText(b, a.Hash)
	if a.OriginalName != "" {
		b = append(b, `,"originalName":`...)
		b = wire.AppendJSONText(b, a.OriginalName)
	}
	if a.MIMEType != "" {
		b = append(b, `,"mimeType":`...)
		b = wire.AppendJSONText(b, a.MIMEType)
	}
	b = append(b, `,"text":`...)
	b = wire.AppendJSONText(b, a.Text)
	if len(a.Key) > 0 {
		b = append(b, `,"key":`...)
		b = wire.AppendJSONText(b, base64.StdEncoding.EncodeToString(a.Key))
		b = append(b, `,"server":`...)
		b = wire.AppendJSONText(b, a.Server.String())
	}
	return append(b, '}')
}

// Downloadable reports whether the description is complete enough to fetch the
// file from where its form says, or has it already.
func (a Attachment) Downloadable() bool {
	switch a.Form {
	case FormServer:
		return len(a.Key) == FileKeySize && !a.Server.IsZero() && len(a.Hash) == 64
	case FormRequest:
		return a.Name != "" && len(a.Hash) == 64
	case FormInline:
		return true
	}
	return false
}

// DisplayText returns what apps show for the attachment in a line of text.
func (a Attachment) DisplayText() string {
	for _, s := range []string{a.Text, a.OriginalName, a.Name} {
		if s != "" {
			return s
		}
	}
	return ""
}

// maxSafeName fits every file system with room for a suffix. Ours.
const maxSafeName = 128

// FileName returns a name under which the file may be offered to a person:
// the original name, else the sender's, without folders, control characters,
// direction marks, leading dots and what file systems refuse; "file" when
// nothing is left. It is still no path to write to.
func (a Attachment) FileName() string {
	for _, s := range []string{a.OriginalName, a.Name} {
		if name := safeName(s); name != "" {
			return name
		}
	}
	return "file"
}

func safeName(s string) string {
	s = s[strings.LastIndexAny(s, `/\`)+1:]
	s = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r), r == '\u2028', r == '\u2029', r == unicode.ReplacementChar:
			return -1
		case strings.ContainsRune(`<>:"|?*`, r):
			return '_'
		}
		return r
	}, s)
	// The ending says what the file is, so a long name is cut before it.
	ending := ""
	if dot := strings.LastIndexByte(s, '.'); len(s) > maxSafeName && len(s)-dot <= 16 && dot > 0 {
		ending = s[dot:]
	}
	s = strings.TrimLeft(s, ". ")
	if len(s) > maxSafeName {
		s = wire.CutText(s, maxSafeName-len(ending)) + ending
	}
	s = strings.TrimRight(s, ". ")
	if isDeviceName(s) {
		s = "_" + s
	}
	return s
}

// isDeviceName reports whether Windows would take the name for a device.
func isDeviceName(s string) bool {
	base, _, _ := strings.Cut(strings.ToUpper(s), ".")
	switch base = strings.TrimRight(base, " "); base {
	case "CON", "PRN", "AUX", "NUL":
		return true
	}
	return len(base) == 4 && (base[:3] == "COM" || base[:3] == "LPT") && base[3] >= '0' && base[3] <= '9'
}
