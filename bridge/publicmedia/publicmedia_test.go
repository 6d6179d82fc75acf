// SPDX-License-Identifier: MPL-2.0

package publicmedia_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/bridge/publicmedia"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	longKey = "a key of the bridge, long enough to be one"
	address = "https://bridge.mimir.test"
)

// shelf is a node with files.
type shelf struct {
	t     *testing.T
	mu    sync.Mutex
	files map[publicmedia.Ref]*stored
}

type stored struct {
	info    transfer.Info
	content []byte
	fails   error // reading it fails before its end
}

type openFile struct {
	*bytes.Reader
	fails error
}

func (openFile) Close() error { return nil }

func (f openFile) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	if f.fails != nil && f.Len() == 0 {
		return 0, f.fails
	}
	return n, err
}

// WriteTo hides that of the reader.
func (f openFile) WriteTo(w io.Writer) (int64, error) { return io.Copy(w, struct{ io.Reader }{f}) }

func newShelf(t *testing.T) *shelf {
	return &shelf{t: t, files: make(map[publicmedia.Ref]*stored)}
}

// put adds a file, as that of the n-th message of a conversation.
func (s *shelf) put(n byte, info transfer.Info, content string) publicmedia.Ref {
	ref := publicmedia.Ref{
		Account: identity.PublicKey{1}, Conversation: store.ContactConversation(identity.PublicKey{2, n}),
		Message: store.MessageID{Dir: store.In, GUID: -int64(n), Variant: uint16(n)},
	}
	info.State, info.Size, info.Hash = store.MediaStored, int64(len(content)), media.Hash{n}
	s.files[ref] = &stored{info: info, content: []byte(content)}
	return ref
}

func (s *shelf) remove(ref publicmedia.Ref) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.files, ref)
}

func (s *shelf) open(ref publicmedia.Ref) (io.ReadSeekCloser, transfer.Info, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.files[ref]
	if f == nil {
		return nil, transfer.Info{}, store.ErrNotFound
	}
	if f.info.State != store.MediaStored {
		return nil, f.info, transfer.ErrNotHere
	}
	return openFile{bytes.NewReader(f.content), f.fails}, f.info, nil
}

func (s *shelf) links(key string, expiry time.Duration) *publicmedia.Files {
	s.t.Helper()
	files, err := publicmedia.New(publicmedia.Options{
		Address: address, Key: key, Expiry: expiry, Open: s.open, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return files
}

// follow asks for a link, with headers in pairs.
func follow(files *publicmedia.Files, method, link string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, strings.TrimPrefix(link, address), nil)
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	files.Serve(w, r, nil)
	return w
}

func TestLink_TwoFiles_EachItsOwn(t *testing.T) {
	s := newShelf(t)
	first := s.put(1, transfer.Info{Name: "film one.mp4", MIMEType: "video/mp4"}, "the first film")
	second := s.put(2, transfer.Info{Name: "../\u202etwo.html", MIMEType: "text/html; charset=utf-8"}, "<script>alert(1)</script>")
	files := s.links(longKey, time.Hour)
	for _, c := range []struct {
		ref                        publicmedia.Ref
		name, body, kind, fileName string
	}{
		{first, "film one.mp4", "the first film", "video/mp4", `attachment; filename="film one.mp4"`},
		{second, "../two.html", "<script>alert(1)</script>", "application/octet-stream", `attachment; filename=.._two.html`},
	} {
		link, ends := files.Link(c.ref, c.name)
		if until := time.Until(ends); until > time.Hour || until < time.Hour-time.Minute {
			t.Errorf("%s: the link ends in %v", c.name, until)
		}
		if u, err := url.Parse(link); err != nil || strings.ContainsAny(link, " <>\"") || u.Host != "bridge.mimir.test" {
			t.Errorf("%s: the link is %s (%v)", c.name, link, err)
		}
		w := follow(files, http.MethodGet, link)
		if w.Code != http.StatusOK || w.Body.String() != c.body {
			t.Errorf("%s: %d %q", c.name, w.Code, w.Body)
		}
		for key, want := range map[string]string{
			"Content-Type": c.kind, "Content-Disposition": c.fileName, "X-Content-Type-Options": "nosniff",
			"Content-Security-Policy": "sandbox; default-src 'none'; frame-ancestors 'none'", "Cache-Control": "private, no-store",
		} {
			if got := w.Header().Get(key); got != want {
				t.Errorf("%s: %s is %q, want %q", c.name, key, got, want)
			}
		}
		if w = follow(files, http.MethodHead, link); w.Code != http.StatusOK || w.Body.Len() > 0 {
			t.Errorf("%s: HEAD answers %d and %d bytes", c.name, w.Code, w.Body.Len())
		}
	}
}

func TestServe_Types_NothingExecutes(t *testing.T) {
	s := newShelf(t)
	files := s.links(longKey, 0)
	for i, c := range [][2]string{
		{"image/png", "image/png"},
		{"image/svg+xml", media.Unknown},
		{"text/plain; charset=utf-8", "text/plain"},
		{"text/javascript", media.Unknown},
		{"application/xhtml+xml", media.Unknown},
		{"application/zip", "application/zip"},
		{"multipart/mixed; boundary=x", media.Unknown},
		{"", media.Unknown},
		{"no type\r\nX: y", media.Unknown},
		{"IMAGE/SVG+XML", media.Unknown},
	} {
		link, _ := files.Link(s.put(byte(i), transfer.Info{Name: "x", MIMEType: c[0]}, "content"), "x")
		w := follow(files, http.MethodGet, link)
		if got := w.Header().Get("Content-Type"); w.Code != http.StatusOK || got != c[1] {
			t.Errorf("%q is served as %q with the status %d, want %q", c[0], got, w.Code, c[1])
		}
		if got := w.Header().Get("Content-Disposition"); !strings.HasPrefix(got, "attachment") {
			t.Errorf("%q is shown: %q", c[0], got)
		}
	}
}

func TestServe_Range_Resumes(t *testing.T) {
	s := newShelf(t)
	files := s.links(longKey, time.Hour)
	link, _ := files.Link(s.put(1, transfer.Info{Name: "a.bin"}, "0123456789"), "a.bin")
	tag := follow(files, http.MethodHead, link).Header().Get("ETag")
	for _, c := range []struct {
		header []string
		status int
		body   string
	}{
		{[]string{"Range", "bytes=4-"}, http.StatusPartialContent, "456789"},
		{[]string{"Range", "bytes=-2", "If-Range", tag}, http.StatusPartialContent, "89"},
		{[]string{"Range", "bytes=4-", "If-Range", `"another"`}, http.StatusOK, "0123456789"},
		{[]string{"Range", "bytes=0-1,4-5,8-9"}, http.StatusOK, "0123456789"}, // whole, as a server may
	} {
		if w := follow(files, http.MethodGet, link, c.header...); w.Code != c.status || w.Body.String() != c.body {
			t.Errorf("%v: %d %q, want %d %q", c.header, w.Code, w.Body, c.status, c.body)
		}
	}
	if w := follow(files, http.MethodGet, link, "Range", "bytes=10-"); w.Code != http.StatusRequestedRangeNotSatisfiable {
		t.Errorf("a range behind the end is answered %d", w.Code)
	}
}

func TestLink_Changed_LeadsNowhere(t *testing.T) {
	s := newShelf(t)
	ref := s.put(1, transfer.Info{Name: "a.bin"}, "secret")
	files, others := s.links(longKey, time.Hour), s.links(longKey+"!", time.Hour)
	link, _ := files.Link(ref, "a.bin")
	foreign, _ := others.Link(ref, "a.bin")
	token, _, _ := strings.Cut(strings.TrimPrefix(link, address+publicmedia.Path), "/")
	raw, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		t.Fatal(err)
	}
	tries := []string{
		foreign, address + publicmedia.Path, address + publicmedia.Path + token[:len(token)-1], address + publicmedia.Path + token + "A",
		address + publicmedia.Path + "/" + token, address + publicmedia.Path + "x/" + token,
	}
	for i := range raw { // each byte counts: the time, the message, the tag
		changed := bytes.Clone(raw)
		changed[i] ^= 1
		tries = append(tries, address+publicmedia.Path+base64.RawURLEncoding.EncodeToString(changed)+"/a.bin")
	}
	for _, try := range tries {
		if w := follow(files, http.MethodGet, try); w.Code != http.StatusNotFound || strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s is answered %d %q", try, w.Code, w.Body)
		}
	}
	if again, _ := files.Link(ref, "a.bin"); again == link {
		t.Error("two links to a file are one")
	}
	if w := follow(files, http.MethodPost, link); w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST is answered %d", w.Code)
	}
	if w := follow(files, http.MethodGet, link); w.Body.String() != "secret" {
		t.Errorf("the link itself: %d %q", w.Code, w.Body)
	}
}

func TestLink_Expired_Gone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newShelf(t)
		ref := s.put(1, transfer.Info{Name: "a.bin"}, "content")
		hour, day, ever := s.links(longKey, time.Hour), s.links(longKey, 24*time.Hour), s.links(longKey, 0)
		short, _ := hour.Link(ref, "")
		long, _ := day.Link(ref, "")
		endless, ends := ever.Link(ref, "")
		if !ends.IsZero() {
			t.Errorf("a link for ever ends at %v", ends)
		}
		check := func(link string, want int) {
			t.Helper()
			if w := follow(hour, http.MethodGet, link); w.Code != want { // whatever the configuration says later
				t.Errorf("answered %d, want %d", w.Code, want)
			}
		}
		virtual.Sleep(time.Hour - 2*time.Second)
		check(short, http.StatusOK)
		virtual.Sleep(4 * time.Second)
		check(short, http.StatusGone)
		check(long, http.StatusOK)
		virtual.Sleep(24 * time.Hour)
		check(long, http.StatusGone)
		check(endless, http.StatusOK)
	})
}

func TestServe_MessageDeleted_Gone(t *testing.T) {
	s := newShelf(t)
	files := s.links(longKey, time.Hour)
	first, second := s.put(1, transfer.Info{Name: "a"}, "first"), s.put(2, transfer.Info{Name: "b"}, "second")
	deleted, _ := files.Link(first, "a")
	kept, _ := files.Link(second, "b")
	s.remove(first)
	if w := follow(files, http.MethodGet, deleted); w.Code != http.StatusNotFound {
		t.Errorf("the file of a deleted message: %d %q", w.Code, w.Body)
	}
	if w := follow(files, http.MethodGet, kept); w.Body.String() != "second" {
		t.Errorf("the other one: %d %q", w.Code, w.Body)
	}
	s.files[second].info.State = store.MediaEvicted
	if w := follow(files, http.MethodGet, kept); w.Code != http.StatusNotFound {
		t.Errorf("an evicted file: %d %q", w.Code, w.Body)
	}
}

// A file that turns out to be damaged while it is read ends as an incomplete answer, never
// as a whole one.
func TestServe_Damaged_NeverWhole(t *testing.T) {
	s := newShelf(t)
	files := s.links(longKey, time.Hour)
	ref := s.put(1, transfer.Info{Name: "a.bin"}, strings.Repeat("0123456789", 100_000))
	s.files[ref].fails = media.ErrDamaged
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { files.Serve(w, r, nil) }))
	defer server.Close()
	link, _ := files.Link(ref, "a.bin")
	resp, err := server.Client().Get(strings.Replace(link, address, server.URL, 1))
	if err != nil {
		return // broken before the header is broken, too
	}
	defer resp.Body.Close()
	if body, err := io.ReadAll(resp.Body); err == nil {
		t.Errorf("a damaged file was served whole: %d, %d bytes", resp.StatusCode, len(body))
	}
}

// slowWriter is the connection of somebody who reads nothing until they may.
type slowWriter struct {
	*httptest.ResponseRecorder
	begun chan<- struct{}
	may   <-chan struct{}
	once  sync.Once
}

func (w *slowWriter) Write(b []byte) (int, error) {
	w.once.Do(func() { w.begun <- struct{}{}; <-w.may })
	return w.ResponseRecorder.Write(b)
}

func TestServe_Busy_OthersGetTheirs(t *testing.T) {
	const places, perFile = 16, 4
	s := newShelf(t)
	files := s.links(longKey, time.Hour)
	links := make([]string, places/perFile+1)
	for i := range links {
		links[i], _ = files.Link(s.put(byte(i), transfer.Info{Name: "a"}, "content"), "a")
	}
	begun, may := make(chan struct{}), make(chan struct{})
	var readers sync.WaitGroup
	read := func(link string) {
		readers.Go(func() {
			files.Serve(&slowWriter{ResponseRecorder: httptest.NewRecorder(), begun: begun, may: may}, httptest.NewRequest(http.MethodGet, strings.TrimPrefix(link, address), nil), nil)
		})
		<-begun
	}
	busy := func(link string) bool {
		w := follow(files, http.MethodGet, link)
		return w.Code == http.StatusServiceUnavailable && w.Header().Get("Retry-After") != ""
	}
	for range perFile {
		read(links[0])
	}
	if !busy(links[0]) {
		t.Error("one file has no limit")
	}
	if busy(links[1]) {
		t.Error("the readers of one file shut out those of another")
	}
	for i := perFile; i < places; i++ {
		read(links[i/perFile])
	}
	if !busy(links[places/perFile]) {
		t.Error("there is no limit for all files")
	}
	close(may)
	readers.Wait()
	for _, link := range links {
		if busy(link) {
			t.Error("a place was not given back")
		}
	}
}

func TestServe_Admitted_WithValidLinkOnly(t *testing.T) {
	s := newShelf(t)
	files := s.links(longKey, time.Hour)
	link, _ := files.Link(s.put(1, transfer.Info{Name: "a"}, "content"), "a")
	for path, want := range map[string]bool{link: true, address + publicmedia.Path + "abc": false} {
		admitted := false
		w := httptest.NewRecorder()
		files.Serve(w, httptest.NewRequest(http.MethodGet, strings.TrimPrefix(path, address), nil), func() { admitted = true })
		if admitted != want {
			t.Errorf("%s is admitted: %v", path, admitted)
		}
		if w.Header().Get("Connection") != "close" {
			t.Errorf("%s keeps its connection", path)
		}
	}
}

func TestTest_FindsTheBridge(t *testing.T) {
	s := newShelf(t)
	files := s.links(longKey, time.Hour)
	mux := http.NewServeMux()
	mux.HandleFunc(publicmedia.Path, func(w http.ResponseWriter, r *http.Request) { files.Serve(w, r, nil) })
	mux.HandleFunc("/rewritten/", func(w http.ResponseWriter, r *http.Request) {
		r.URL.Path = publicmedia.Path + strings.TrimPrefix(r.URL.Path, "/rewritten/")
		files.Serve(w, r, nil)
	})
	server := httptest.NewServer(mux)
	defer server.Close()
	for _, c := range []struct {
		prefix, key string
		want        error
	}{
		{"", longKey, nil},
		{"/rewritten", longKey, nil},
		{"", longKey + "!", publicmedia.ErrOtherKey},
		{"/elsewhere", longKey, publicmedia.ErrForeign},
	} {
		err := publicmedia.Test(t.Context(), publicmedia.Options{Address: server.URL + "/", Prefix: c.prefix, Key: c.key})
		if !errors.Is(err, c.want) {
			t.Errorf("%q: %v, want %v", c.prefix, err, c.want)
		}
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if err := publicmedia.Test(ended, publicmedia.Options{Address: server.URL, Key: longKey}); err == nil {
		t.Error("nothing answers, and the test is passed")
	}
}
