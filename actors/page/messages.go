// SPDX-License-Identifier: MPL-2.0

package page

import (
	"context"
	"errors"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

const (
	// maxText is the longest text, in bytes.
	maxText = 1 << 20
	// shownText is how much of a text a conversation shows, in bytes; the rest is on the
	// message's own page.
	shownText = 8000
	// maxFields bounds the parts of a form with files, maxField each that is not a file.
	maxFields = 64
	maxField  = 64 << 10
	// partTime is how long a browser may pause while it sends a file or reads one.
	partTime = time.Minute
)

// composerView is the form for a new message.
type composerView struct {
	Account, Chat, CSRF string
	// Source makes it safe to send the form twice.
	Source string
	Reply  *control.Message // that is quoted, nil for none
	Text   string
	Wrong  string
}

func (s *server) composerOf(ctx context.Context, r *request) (composerView, error) {
	view := composerView{Account: r.PathValue("account"), Chat: r.PathValue("chat"), CSRF: r.session.csrf, Source: newToken()}
	id := r.URL.Query().Get("reply")
	if id == "" {
		return view, nil
	}
	m, err := s.api.ChatMessage(ctx, view.Account, view.Chat, id)
	if err != nil {
		return view, err
	}
	view.Reply = &m
	return view, nil
}

// composer answers with the form alone.
func (s *server) composer(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	view, err := s.composerOf(ctx, r)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	s.render(w, http.StatusOK, "composer", view)
}

// outgoing is what a form for a message has in it, before its files.
type outgoing struct{ csrf, source, reply, text string }

// send sends a text, files, or both: then the text is the caption of the first file. Files
// are streamed to the node, never whole in memory or on the disk of this process.
func (s *server) send(w http.ResponseWriter, r *request) {
	form, err := r.MultipartReader()
	if err != nil {
		s.wrong(w, r, http.StatusBadRequest, "This form cannot be read; nothing was sent.")
		return
	}
	// A large file takes longer than other forms.
	deadlines := http.NewResponseController(w)
	r.Body = &patientBody{r.Body, deadlines}
	_ = deadlines.SetWriteDeadline(time.Time{}) // a recorder in a test has none
	out, file, err := readFields(form)
	if err != nil {
		s.wrong(w, r, http.StatusBadRequest, "This form cannot be read, or a field of it is too large; nothing was sent.")
		return
	}
	if !s.ours(r, out.csrf) {
		refuseForm(w)
		return
	}
	account, chat := r.PathValue("account"), r.PathValue("chat")
	sent, err := s.sendAll(r.Context(), account, chat, out, form, file)
	_ = deadlines.SetWriteDeadline(time.Now().Add(answerTime))
	switch {
	case err != nil:
		status, text := sentence(err)
		if sent > 0 {
			text = "Of the files " + strconv.Itoa(sent) + " were sent. " + text
		}
		s.sendAnswer(w, r, status, composerView{
			Account: account, Chat: chat, CSRF: r.session.csrf, Source: newToken(), Text: out.text, Wrong: text,
		})
	case r.fragment():
		s.sendAnswer(w, r, http.StatusOK, composerView{Account: account, Chat: chat, CSRF: r.session.csrf, Source: newToken()})
	default:
		http.Redirect(w, r.Request, accountLink(account, "c", chat)+"#end", http.StatusSeeOther)
	}
}

// sendAnswer answers with a new form, in the page or as one.
func (s *server) sendAnswer(w http.ResponseWriter, r *request, status int, view composerView) {
	if r.fragment() {
		s.render(w, status, "composer", view)
		return
	}
	s.wrong(w, r, status, view.Wrong)
}

// sendAll sends what is in a form and counts the messages. file is the first file, nil for
// none.
func (s *server) sendAll(ctx context.Context, account, chat string, out outgoing, form *multipart.Reader, file *multipart.Part) (sent int, err error) {
	source := func(n int) string { return "page:" + out.source + ":" + strconv.Itoa(n) }
	if file == nil {
		if strings.TrimSpace(out.text) == "" {
			return 0, errEmptyMessage
		}
		_, err := s.api.Send(ctx, account, chat, control.Text{Text: out.text, ReplyTo: out.reply, Source: source(0)})
		return 1, err
	}
	for ; file != nil; sent++ {
		f := client.NewFile{Body: file, Name: file.FileName(), Type: typeOf(file), Source: source(sent)}
		if sent == 0 {
			f.Caption, f.ReplyTo = out.text, out.reply
		}
		if _, err := s.api.SendFile(ctx, account, chat, f); err != nil {
			return sent, err
		}
		if file, err = nextFile(form); err != nil {
			return sent + 1, err
		}
	}
	return sent, nil
}

// typeOf is what the browser takes a file for, "" when it does not know.
func typeOf(file *multipart.Part) string {
	kind, _, err := mime.ParseMediaType(file.Header.Get("Content-Type"))
	if err != nil || kind == "application/octet-stream" {
		return ""
	}
	return kind
}

// readFields reads a form up to its first file.
func readFields(form *multipart.Reader) (out outgoing, file *multipart.Part, err error) {
	for range maxFields {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return out, nil, nil
		}
		if err != nil {
			return out, nil, err
		}
		if part.FileName() != "" {
			return out, part, nil
		}
		limit := maxField
		if part.FormName() == "text" {
			limit = maxText
		}
		raw, err := io.ReadAll(io.LimitReader(part, int64(limit)+1)) //nolint:forbidigo // through a limit
		if err != nil {
			return out, nil, err
		}
		if len(raw) > limit || !utf8.Valid(raw) {
			return out, nil, errLargeField
		}
		value := string(raw)
		switch part.FormName() {
		case "csrf":
			out.csrf = value
		case "source":
			out.source = value
		case "reply":
			out.reply = value
		case "text":
			out.text = strings.ReplaceAll(value, "\r\n", "\n") // forms are sent so
		}
	}
	return out, nil, errLargeField
}

// nextFile skips to the next file, nil at the end.
func nextFile(form *multipart.Reader) (*multipart.Part, error) {
	for range maxFields {
		part, err := form.NextPart()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if err != nil || part.FileName() != "" {
			return part, err
		}
	}
	return nil, errLargeField
}

var (
	errEmptyMessage = &client.Error{Status: http.StatusUnprocessableEntity, Text: "there is nothing to send; write something or choose a file"}
	errNoAccount    = &client.Error{Status: http.StatusNotFound, Text: "there is no such account on this node"}
	errLargeField   = errors.New("a field of the form is too large, or not text")
)

// patientBody lets a browser take its time over a file, as long as something comes.
type patientBody struct {
	io.ReadCloser
	deadlines *http.ResponseController
}

func (b *patientBody) Read(p []byte) (int, error) {
	_ = b.deadlines.SetReadDeadline(time.Now().Add(partTime)) // a recorder in a test has none
	return b.ReadCloser.Read(p)
}

// messagePageView is a message on its own page, with what can be done about it.
type messagePageView struct {
	Row    messageView
	Name   string // of the conversation
	CSRF   string
	Emojis []string
	// Delete says that it can be deleted for everybody.
	Delete bool
}

// emojis are those that the apps offer.
var emojis = [...]string{"👍", "❤️", "😂", "😮", "😢", "🙏"}

// message shows one message and what can be done about it.
func (s *server) message(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	account, chat := r.PathValue("account"), r.PathValue("chat")
	conversation, err := s.api.Conversation(ctx, account, chat)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	m, err := s.api.ChatMessage(ctx, account, chat, r.PathValue("message"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	row := s.rowOf(account, conversation, m)
	row.Whole = true
	view := messagePageView{
		Row: row, Name: conversation.Name, CSRF: r.session.csrf, Emojis: emojis[:],
		Delete: conversation.Group != nil && !m.Deleted && m.State != "pending",
	}
	if r.fragment() {
		s.render(w, http.StatusOK, "actions", view)
		return
	}
	f, err := s.frameOf(ctx, r, "chats", "Message")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	f.Page = view
	s.render(w, http.StatusOK, "message", f)
}

// actOnMessage does what a button on a message's page says.
func (s *server) actOnMessage(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	account, chat, id := r.PathValue("account"), r.PathValue("chat"), r.PathValue("message")
	var err error
	switch r.PathValue("act") {
	case "react":
		_, err = s.api.React(ctx, account, chat, control.Reaction{Message: r.PostForm.Get("guid"), Emoji: r.PostForm.Get("emoji")})
	case "cancel":
		_, err = s.api.CancelMessage(ctx, account, chat, id)
	case "fetch":
		_, err = s.api.FetchFile(ctx, account, chat, id)
	case "delete":
		_, err = s.api.DeleteGroupMessage(ctx, account, chat, id, 0)
	default:
		s.notFound(w, r)
		return
	}
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if r.fragment() {
		w.WriteHeader(http.StatusNoContent) // what has changed comes over the stream
		return
	}
	http.Redirect(w, r.Request, accountLink(account, "c", chat)+"#m-"+id, http.StatusSeeOther)
}

// shownKinds are the types of files that browsers show themselves without running anything
// in them. Everything else is a download.
var shownKinds = map[string]bool{
	"image/png": true, "image/jpeg": true, "image/gif": true, "image/webp": true, "image/avif": true, "image/bmp": true,
	"audio/mpeg": true, "audio/mp4": true, "audio/aac": true, "audio/ogg": true, "audio/webm": true, "audio/wav": true, "audio/x-wav": true,
	"audio/x-m4a": true, "audio/flac": true, "audio/amr": true,
	"video/mp4": true, "video/webm": true, "video/ogg": true, "video/quicktime": true,
}

// file passes on the file of a message.
func (s *server) file(w http.ResponseWriter, r *request) {
	account, chat, id := r.PathValue("account"), r.PathValue("chat"), r.PathValue("message")
	m, err := s.api.ChatMessage(r.Context(), account, chat, id)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if m.File == nil {
		s.wrong(w, r, http.StatusNotFound, "This message has no file.")
		return
	}
	content, err := s.api.OpenFile(r.Context(), account, chat, id, r.Header.Get("Range"))
	if err != nil {
		s.fail(w, r, err)
		return
	}
	defer content.Body.Close()
	h := w.Header()
	kind, how := "application/octet-stream", "attachment"
	if shownKinds[m.File.Type] && r.URL.Query().Get("save") == "" {
		kind, how = m.File.Type, "inline"
	}
	h.Set("Content-Type", kind)
	if disposition := mime.FormatMediaType(how, map[string]string{"filename": fileName(m.File.Name)}); disposition != "" {
		h.Set("Content-Disposition", disposition)
	}
	// A file never changes; only this browser keeps it.
	h.Set("Cache-Control", "private, max-age=86400")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	for _, key := range []string{"Content-Length", "Content-Range", "Accept-Ranges"} {
		if value := content.Header.Get(key); value != "" {
			h.Set(key, value)
		}
	}
	w.WriteHeader(content.StatusCode)
	if n, err := io.Copy(&patientWriter{w, http.NewResponseController(w)}, content.Body); err != nil && n < content.ContentLength {
		panic(http.ErrAbortHandler) // the only way to end an answer as incomplete
	}
}

// patientWriter lets a browser take its time over a file, as long as it reads.
type patientWriter struct {
	w         http.ResponseWriter
	deadlines *http.ResponseController
}

func (p *patientWriter) Write(b []byte) (int, error) {
	_ = p.deadlines.SetWriteDeadline(time.Now().Add(partTime)) // a recorder in a test has none
	return p.w.Write(b)
}

// avatar passes on the picture of a contact, a group or, for the chat "-", the account.
func (s *server) avatar(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	chat := r.PathValue("chat")
	if chat == "-" {
		chat = ""
	}
	picture, err := s.api.Avatar(ctx, r.PathValue("account"), chat)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	kind := http.DetectContentType(picture)
	if !shownKinds[kind] {
		s.wrong(w, r, http.StatusNotFound, "There is no picture.")
		return
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "private, max-age=300")
	w.Header().Set("Content-Security-Policy", "default-src 'none'; sandbox")
	_, _ = w.Write(picture) // the browser may be gone
}
