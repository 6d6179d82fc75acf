// SPDX-License-Identifier: MPL-2.0

package control

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// The files of messages. What they say of themselves goes through the API as
// everything else does; their content is streamed, in either direction, past it.

// File is the file of a message.
type File struct {
	Contact   string `json:"contact,omitempty"`
	Group     string `json:"group,omitempty" doc:"In place of a contact"`
	Message   string `json:"message" doc:"Id of the message"`
	Direction string `json:"direction" enum:"in,out"`
	State     string `json:"state" enum:"offered,downloading,stored,failed,evicted,uploading"`
	Name      string `json:"name" doc:"To be shown; not a path"`
	Type      string `json:"type" doc:"MIME type, by the content once the file is here"`
	Size      int64  `json:"size,omitempty" doc:"Bytes; the sender's word until the file is here"`
	Done      int64  `json:"done,omitempty" doc:"Bytes transferred so far"`
	SHA256    string `json:"sha256,omitempty"`
	Caption   string `json:"caption,omitempty"`
	Picture   bool   `json:"picture,omitempty"`
	Voice     bool   `json:"voice,omitempty"`
	Reason    string `json:"reason,omitempty" doc:"Why the last attempt failed"`

	NextAttempt time.Time `json:"next_attempt,omitzero" doc:"When the node retries an upload or download that failed"`
}

// filePage is how many messages are looked at in a list of files.
const filePage = 1000

func fileOf(info transfer.Info) File {
	f := File{
		Contact: hexOf(info.Contact), Message: info.Message.String(), Direction: info.Message.Dir.String(),
		State: info.State.String(), Name: info.Name, Type: info.MIMEType, Size: info.Size, Done: info.Done,
		Caption: info.Caption, Picture: info.Picture, Voice: info.Voice, Reason: info.Reason,
		NextAttempt: info.Next,
	}
	if info.Conversation.Kind() == store.KindGroup {
		f.Group = info.Conversation.String()
	}
	if !info.Hash.IsZero() {
		f.SHA256 = info.Hash.String()
	}
	return f
}

// fileProblem adds what goes wrong with files only.
func fileProblem(err error) error {
	switch {
	case errors.Is(err, transfer.ErrNoMedia):
		return huma.Error404NotFound(err.Error())
	case errors.Is(err, transfer.ErrNotHere):
		return huma.Error409Conflict(err.Error() + "; fetch it first")
	case errors.Is(err, transfer.ErrFileEmpty), errors.Is(err, transfer.ErrFileTooLarge):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, media.ErrFull), errors.Is(err, media.ErrDiskFull):
		return huma.Error507InsufficientStorage(err.Error())
	}
	return groupProblem(err)
}

// serveContent streams the file of a message of a contact's or a group's conversation.
func (s *service) serveContent(w http.ResponseWriter, r *http.Request, account identity.PublicKey, conversation store.ConversationID, id store.MessageID) {
	f, info, err := s.node.OpenConversationMedia(account, conversation, id)
	if err != nil {
		writeProblem(w, fileProblem(err))
		return
	}
	defer func() { _ = f.Close() }() // only read
	writeUntyped(w)
	w.Header().Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": info.Name}))
	http.ServeContent(w, r, "", time.Time{}, f)
}

// writeUntyped says that an answer is nothing that a browser would run.
func writeUntyped(w http.ResponseWriter) {
	w.Header().Set("Content-Type", media.Unknown)
	w.Header().Set("X-Content-Type-Options", "nosniff")
}

// takeFile queues the body of a request as a file for a contact or a group.
func (s *service) takeFile(w http.ResponseWriter, r *http.Request, account identity.PublicKey, conversation store.ConversationID) {
	q := r.URL.Query()
	var replyTo int64
	var err error
	if text := q.Get("reply_to"); text != "" {
		if replyTo, err = strconv.ParseInt(text, 10, 64); err != nil {
			writeProblem(w, huma.Error422UnprocessableEntity("reply_to: want the guid of a message, decimal"))
			return
		}
	}
	source, err := sourceOf(q.Get("source"))
	if err != nil {
		writeProblem(w, err)
		return
	}
	// Large files take longer than a request may otherwise. The node bounds the size.
	_ = http.NewResponseController(w).SetReadDeadline(time.Time{}) // pipes in memory have none
	contact, group := to(conversation)
	m, err := s.node.SendFile(r.Context(), node.OutgoingFile{
		Account: account, Contact: contact, Group: group, Source: source, Body: r.Body, Name: q.Get("name"),
		MIMEType: q.Get("type"), Caption: q.Get("caption"), Voice: q.Get("voice") == "true", ReplyTo: peer.GUID(replyTo),
	})
	if err != nil {
		writeProblem(w, fileProblem(err))
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(s.message(m)) // the client may be gone
}

// maxSource is the longest source of a message, in bytes.
const maxSource = 200

// sourceOf makes the store's source of one that a caller has chosen, which must not
// collide with the sources of another caller, such as the bridge.
func sourceOf(source string) (string, error) {
	switch {
	case source == "":
		return "", nil
	case len(source) > maxSource:
		return "", huma.Error422UnprocessableEntity("source: longer than 200 bytes")
	default:
		return "control:" + source, nil
	}
}

// writeProblem answers as huma does.
func writeProblem(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if known, ok := errors.AsType[huma.StatusError](err); ok {
		status = known.GetStatus()
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(huma.ErrorModel{Title: http.StatusText(status), Status: status, Detail: err.Error()}) // the client may be gone
}
