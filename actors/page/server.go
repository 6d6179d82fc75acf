// SPDX-License-Identifier: MPL-2.0

package page

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/strangerlog"
)

const (
	// maxForm bounds a form without files.
	maxForm = 2 << 20
	// formTime is how long a browser may take to send a form, answerTime how long it may
	// take to read a page.
	formTime   = 30 * time.Second
	answerTime = 30 * time.Second
	// askTime bounds what a page waits for the node.
	askTime = 20 * time.Second
	// policy lets a page load its own style, scripts, pictures and sounds, and nothing else.
	policy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; media-src 'self'; " +
		"connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed assets
var assetFiles embed.FS

// server answers browsers.
type server struct {
	api    *client.Client
	access *Access
	// backup is Options.Backup.
	backup func(context.Context) (begun bool, err error)
	log    *strangerlog.Log
	// cookie is the name of the cookie. Cookies do not know ports, so the port is in it.
	cookie string
	// secure is set when browsers reach the page by HTTPS.
	secure bool
	// hosts are the names under which the page may be asked, besides addresses.
	hosts []string
	pages *template.Template
	// assets are the files that pages load, by name.
	assets map[string]asset
}

type asset struct {
	kind          string
	plain, zipped []byte
	version       string
}

// newServer returns the handler for everything that browsers ask. address is where they
// reach it.
func newServer(api *client.Client, opts Options, address string, log *strangerlog.Log) (http.Handler, error) {
	where, err := url.Parse(address)
	if err != nil || where.Host == "" {
		return nil, fmt.Errorf("page.url: %q is not an address of a page", address)
	}
	s := &server{
		api: api, access: opts.Access, backup: opts.Backup, log: log, cookie: "mimird-" + portOf(where), secure: where.Scheme == "https",
		hosts: []string{where.Hostname(), "localhost"}, assets: make(map[string]asset),
	}
	if err := s.loadAssets(); err != nil {
		return nil, err
	}
	if s.pages, err = template.New("").Funcs(s.functions()).ParseFS(templateFiles, "templates/*.html"); err != nil {
		return nil, fmt.Errorf("read the templates of the page: %w", err)
	}
	return s.guard(s.routes()), nil
}

func portOf(where *url.URL) string {
	if port := where.Port(); port != "" {
		return port
	}
	return where.Scheme
}

// scripts are joined into one file, in this order: htmx looks at the page as soon as it can,
// and an extension that is loaded after that moment is not heard.
var scripts = [...]string{"assets/htmx/htmx.min.js", "assets/htmx/hx-sse.min.js", "assets/page.js"}

func (s *server) loadAssets() error {
	var all []byte
	for _, name := range scripts {
		raw, err := assetFiles.ReadFile(name)
		if err != nil {
			return err
		}
		all = append(append(all, raw...), ";\n"...)
	}
	if err := s.addAsset("page.js", all); err != nil {
		return err
	}
	return fs.WalkDir(assetFiles, "assets", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		if ext := path.Ext(name); ext != ".css" && ext != ".svg" {
			return nil // scripts, licences, notes
		}
		raw, err := assetFiles.ReadFile(name)
		if err != nil {
			return err
		}
		return s.addAsset(path.Base(name), raw)
	})
}

func (s *server) addAsset(name string, raw []byte) error {
	a := asset{plain: raw, kind: map[string]string{
		".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml",
	}[path.Ext(name)]}
	sum := sha256.Sum256(raw)
	a.version = hex.EncodeToString(sum[:8])
	var zipped bytes.Buffer
	w, _ := gzip.NewWriterLevel(&zipped, gzip.BestCompression) // the level is valid
	_, err := w.Write(raw)
	if err = errors.Join(err, w.Close()); err != nil {
		return err
	}
	a.zipped = zipped.Bytes()
	s.assets[name] = a
	return nil
}

// routes has every address of the page.
func (s *server) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /assets/{file}", s.asset)
	mux.HandleFunc("GET /login", s.loginPage)
	mux.HandleFunc("POST /login", s.login)
	mux.HandleFunc("GET /enter", s.enterPage)
	mux.HandleFunc("POST /enter", s.enter)

	// in is for those who have logged in, form for their forms.
	in := func(pattern string, handle func(http.ResponseWriter, *request)) {
		mux.HandleFunc("GET "+pattern, s.inside(handle))
	}
	form := func(pattern string, handle func(http.ResponseWriter, *request)) {
		mux.HandleFunc("POST "+pattern, s.inside(s.checked(handle)))
	}
	in("/{$}", s.home)
	form("/logout", s.logout)
	s.routesOfChats(in, form)
	mux.HandleFunc("POST "+chatPath+"/send", s.inside(s.send)) // it has files, so it checks its token itself
	s.routesOfPeople(in, form)
	s.routesOfNode(in, form)
	mux.HandleFunc("/", s.inside(func(w http.ResponseWriter, r *request) { s.notFound(w, r) }))
	return mux
}

// guard refuses what no page of ours asks for, and sets what every answer has.
func (s *server) guard(next http.Handler) http.Handler {
	origin := http.NewCrossOriginProtection()
	origin.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		s.log.Warn("form of another site refused")
		http.Error(w, "This form was sent by another site, so nothing was done.", http.StatusForbidden)
	}))
	protected := origin.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Permissions-Policy", "camera=(), geolocation=(), microphone=()")
		h.Set("Cache-Control", "no-store")
		if !s.knownHost(r.Host) {
			http.Error(w, "The page is not served under this name; see page.url in the configuration.", http.StatusMisdirectedRequest)
			return
		}
		control := http.NewResponseController(w)
		now := time.Now()
		_ = control.SetReadDeadline(now.Add(formTime)) // a recorder in a test has none
		_ = control.SetWriteDeadline(now.Add(answerTime))
		protected.ServeHTTP(w, r)
	})
}

// knownHost reports whether the page is asked under a name of its own, or by address. Any
// other name may be one that somebody else has pointed here.
func (s *server) knownHost(host string) bool {
	name := host
	if h, _, err := net.SplitHostPort(host); err == nil {
		name = h
	}
	if _, err := netip.ParseAddr(strings.Trim(name, "[]")); err == nil {
		return true
	}
	for _, known := range s.hosts {
		if strings.EqualFold(name, known) {
			return true
		}
	}
	return false
}

// request is a request of somebody who has logged in.
type request struct {
	*http.Request
	session *session
	token   string
}

// ask returns the context for questions to the node.
func (r *request) ask() (context.Context, context.CancelFunc) {
	return context.WithTimeout(r.Context(), askTime)
}

// fragment reports whether a script of ours asks for a part of a page.
func (r *request) fragment() bool { return r.Header.Get("HX-Request") != "" }

// inside lets those in who have a session; others are led to the login.
func (s *server) inside(handle func(http.ResponseWriter, *request)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var token string
		if cookie, err := r.Cookie(s.cookie); err == nil {
			token = cookie.Value
		}
		found, err := s.access.find(token)
		if err != nil {
			http.Error(w, "The sessions cannot be read: "+err.Error(), http.StatusInternalServerError)
			return
		}
		if found == nil {
			switch {
			case r.Header.Get("HX-Request") != "":
				w.Header().Set("HX-Redirect", "/login")
				http.Error(w, "You are not logged in any more.", http.StatusUnauthorized)
			case r.Method != http.MethodGet:
				http.Error(w, "You are not logged in any more, so nothing was done.", http.StatusUnauthorized)
			default:
				http.Redirect(w, r, "/login", http.StatusSeeOther)
			}
			return
		}
		handle(w, &request{Request: r, session: found, token: token})
	}
}

// checked lets forms through that a page of this session had.
func (s *server) checked(handle func(http.ResponseWriter, *request)) func(http.ResponseWriter, *request) {
	return func(w http.ResponseWriter, r *request) {
		r.Body = http.MaxBytesReader(w, r.Body, maxForm)
		if err := r.ParseForm(); err != nil {
			http.Error(w, "This form cannot be read, or is too large; nothing was done.", http.StatusBadRequest)
			return
		}
		if !s.ours(r, r.PostForm.Get("csrf")) {
			refuseForm(w)
			return
		}
		handle(w, r)
	}
}

// ours reports whether a form's token is that of the session.
func (s *server) ours(r *request, token string) bool {
	if subtle.ConstantTimeCompare([]byte(token), []byte(r.session.csrf)) == 1 {
		return true
	}
	s.log.Warn("form without its token refused")
	return false
}

func refuseForm(w http.ResponseWriter) {
	http.Error(w, "This form is of another session, so nothing was done. Go back, load the page again, and repeat it.", http.StatusForbidden)
}

// asset serves a file that pages load. Its address has its version, so browsers keep it.
func (s *server) asset(w http.ResponseWriter, r *http.Request) {
	a, ok := s.assets[r.PathValue("file")]
	if !ok {
		http.NotFound(w, r)
		return
	}
	if r.URL.Query().Get("v") == a.version {
		w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	}
	w.Header().Set("Content-Type", a.kind)
	w.Header().Set("Vary", "Accept-Encoding")
	body := a.plain
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		body = a.zipped
	}
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body) // the browser may be gone
}

// frame is what every page has around it.
type frame struct {
	Title    string
	Section  string // of the navigation, "" for none
	CSRF     string
	Account  control.Account
	Accounts []control.Account
	// Said is what has just been done, Wrong what has failed.
	Said, Wrong string
	// Live is where the page hears of changes, "" for a page that stays as it is.
	Live string
	// Wide is for pages that have the list of conversations beside them.
	Wide  bool
	Chats chatList
	Page  any
}

// render writes a page. It is rendered whole before the first byte goes out.
func (s *server) render(w http.ResponseWriter, status int, name string, data any) {
	var body bytes.Buffer
	if err := s.pages.ExecuteTemplate(&body, name, data); err != nil {
		s.log.Error("page not rendered", "op", name, "err", err)
		http.Error(w, "This page cannot be shown because of a defect; the log of the node says more.", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(body.Len()))
	w.WriteHeader(status)
	_, _ = body.WriteTo(w) // the browser may be gone
}

// notFound answers for what is not there.
func (s *server) notFound(w http.ResponseWriter, r *request) {
	s.wrong(w, r, http.StatusNotFound, "There is no such page.")
}

// fail answers with what the node says about an error.
func (s *server) fail(w http.ResponseWriter, r *request, err error) {
	status, text := sentence(err)
	s.wrong(w, r, status, text)
}

// wrong shows a sentence in place of a page.
func (s *server) wrong(w http.ResponseWriter, r *request, status int, text string) {
	if r.fragment() {
		w.Header().Set("HX-Retarget", "#notice")
		w.Header().Set("HX-Reswap", "innerHTML")
		s.render(w, status, "notice", text)
		return
	}
	f := frame{Title: http.StatusText(status), CSRF: r.session.csrf, Wrong: text}
	ctx, cancel := r.ask()
	defer cancel()
	if accounts, err := s.api.Accounts(ctx); err == nil {
		f.Accounts = accounts
		if len(accounts) > 0 {
			f.Account = accounts[0]
		}
		for _, a := range accounts {
			if a.ID == r.PathValue("account") {
				f.Account = a
			}
		}
	}
	s.render(w, status, "wrong", f)
}

// sentence is what a person is told about an error, and the status that goes with it.
func sentence(err error) (status int, text string) {
	if refused, ok := errors.AsType[*client.Error](err); ok {
		return refused.Status, upperFirst(refused.Text) + "."
	}
	switch {
	case errors.Is(err, client.ErrNotRunning):
		return http.StatusServiceUnavailable, "The node does not answer at this moment; try again in a few seconds."
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return http.StatusServiceUnavailable, "The node did not answer in time; try again."
	}
	return http.StatusInternalServerError, upperFirst(err.Error()) + "."
}
