// SPDX-License-Identifier: MPL-2.0

package publicmedia

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge/msgconv"
)

const (
	// maxDownloads bounds the downloads at the same time, and maxPerFile those of one
	// file: a link that is passed on does not shut out the readers of other files.
	maxDownloads = 16
	maxPerFile   = 4
	// retryAfter is when somebody who found no place asks again, in seconds.
	retryAfter = "30"
	// stallTime is how long a reader may take for the next part of a file.
	stallTime = time.Minute
	// A download ends after minTime, and a second for every minRate bytes.
	minTime = 5 * time.Minute
	minRate = 16 << 10
)

// What people see in place of a file.
const (
	textInvalid = "This link leads nowhere. Was it copied whole?\n"
	textExpired = "This link has expired. Reply to its message with the command retry for a new one.\n"
	textGone    = "This file is not on the node any more.\n"
	textBusy    = "Too many people are fetching files at this moment. Try again in half a minute.\n"
	textFailed  = "The file cannot be read at this moment. Try again later.\n"
)

// safeTypes are the types of files, beside pictures, sounds and films, that are told as
// they are: programs that browsers would run, such as HTML and SVG, are not.
var safeTypes = []string{"text/plain", "text/csv", "application/pdf", "application/zip", "application/gzip", "application/x-tar"}

// contentType returns the type under which a file is served.
func contentType(mimeType string) string {
	kind, _, err := mime.ParseMediaType(mimeType)
	if err != nil || strings.HasSuffix(kind, "+xml") {
		return media.Unknown
	}
	group, _, _ := strings.Cut(kind, "/")
	if slices.Contains([]string{"image", "audio", "video"}, group) || slices.Contains(safeTypes, kind) {
		return kind
	}
	return media.Unknown
}

// Serve answers a request below [Path]. It calls admitted, if not nil, when the request has
// a link that is good: from then on the connection is that of somebody we know. It ends the
// connection with its answer.
func (f *Files) Serve(w http.ResponseWriter, r *http.Request, admitted func()) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "sandbox; default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("X-Robots-Tag", "noindex, nofollow, noarchive")
	h.Set("Cache-Control", "private, no-store") // what is deleted here is not kept on the way
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		h.Set("Allow", "GET, HEAD")
		http.Error(w, "A file can only be fetched.", http.StatusMethodNotAllowed)
		return
	}
	token, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, Path), "/")
	ref, err := f.read(token)
	switch {
	case errors.Is(err, errExpired):
		refuse(w, http.StatusGone, textExpired)
		return
	case err != nil:
		refuse(w, http.StatusNotFound, textInvalid)
		return
	}
	if !f.enter(ref) {
		h.Set("Retry-After", retryAfter)
		refuse(w, http.StatusServiceUnavailable, textBusy)
		return
	}
	defer f.leave(ref)
	if admitted != nil {
		admitted()
	}
	h.Set("Connection", "close") // its place is for others
	f.serveFile(w, r, ref)
}

// serveFile serves the file of a message.
func (f *Files) serveFile(w http.ResponseWriter, r *http.Request, ref Ref) {
	body, info, err := f.opts.Open(ref)
	switch {
	case errors.Is(err, transfer.ErrNotHere), errors.Is(err, transfer.ErrNoMedia), errors.Is(err, store.ErrNotFound):
		refuse(w, http.StatusNotFound, textGone)
		return
	case err != nil:
		f.opts.Log.Warn("file of a link not opened", "account", ref.Account.Short(), "message", ref.Message, "err", err)
		refuse(w, http.StatusInternalServerError, textFailed)
		return
	}
	defer func() { _ = body.Close() }() // only read
	h := w.Header()
	h.Set("Content-Type", contentType(info.MIMEType))
	name := strings.NewReplacer("/", "_", `\`, "_").Replace(msgconv.FileName(msgconv.File{Name: info.Name, MIMEType: info.MIMEType}))
	disposition := mime.FormatMediaType("attachment", map[string]string{"filename": name})
	if disposition == "" {
		disposition = "attachment"
	}
	h.Set("Content-Disposition", disposition)
	if !info.Hash.IsZero() {
		h.Set("ETag", `"`+info.Hash.String()+`"`) // a resumed download is of the same file
	}
	deadlines := http.NewResponseController(w)
	_ = deadlines.SetReadDeadline(time.Time{}) // that of the request; a pipe in memory has none
	patient := &patientWriter{ResponseWriter: w, deadlines: deadlines, end: time.Now().Add(minTime + time.Duration(info.Size/minRate)*time.Second)}
	if strings.Contains(r.Header.Get("Range"), ",") {
		r.Header.Del("Range") // of several parts the library reads on in a goroutine that outlives the answer
	}
	content := &noted{ReadSeeker: body}
	http.ServeContent(patient, r, "", time.Time{}, content)
	if content.err != nil {
		f.opts.Log.Warn("file of a link not read to its end", "account", ref.Account.Short(), "message", ref.Message, "err", content.err)
		panic(http.ErrAbortHandler) // the only way to end an answer as incomplete
	}
	f.opts.Log.Debug("file served by link", "account", ref.Account.Short(), "message", ref.Message, "bytes", patient.written)
}

func refuse(w http.ResponseWriter, status int, text string) {
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("Connection", "close")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, text) // somebody who has left reads nothing
}

// enter takes a place for a download, and reports whether there was one.
func (f *Files) enter(ref Ref) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.total >= maxDownloads || f.served[ref] >= maxPerFile {
		return false
	}
	f.total++
	f.served[ref]++
	return true
}

func (f *Files) leave(ref Ref) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.total--
	if f.served[ref]--; f.served[ref] == 0 {
		delete(f.served, ref)
	}
}

// patientWriter lets a reader take stallTime for each part, until end. It hides the
// ReadFrom of the connection, which knows one deadline alone.
type patientWriter struct {
	http.ResponseWriter
	deadlines *http.ResponseController
	end       time.Time
	written   int64
}

func (p *patientWriter) Write(b []byte) (int, error) {
	deadline := time.Now().Add(stallTime)
	if p.end.Before(deadline) {
		deadline = p.end
	}
	_ = p.deadlines.SetWriteDeadline(deadline) // a recorder in a test has none
	n, err := p.ResponseWriter.Write(b)
	p.written += int64(n)
	if err != nil {
		return n, fmt.Errorf("write to the reader: %w", err)
	}
	return n, nil
}

// noted notes the error of reading a file: it was damaged, or the disk fails.
type noted struct {
	io.ReadSeeker
	err error
}

func (n *noted) Read(b []byte) (int, error) {
	count, err := n.ReadSeeker.Read(b)
	if err != nil && !errors.Is(err, io.EOF) {
		n.err = err
	}
	return count, err
}
