// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/unixsocket"
)

const (
	// maxTransaction bounds a transaction, in bytes.
	maxTransaction = store.MaxBody
	// JournalQueue is the journal of the events of transactions that have not been handled.
	JournalQueue = "matrix"
	// journalTimeout bounds the storing of a transaction. Homeservers wait 30 s or longer.
	journalTimeout = 20 * time.Second
	// selfTestPath answers with a random text that only this listener has.
	selfTestPath = "/_matrix/mau/live"
	selfTestName = "X-Mimird-Listener"
)

// Listener is the HTTP server of the application service: what the homeserver pushes
// comes in here. It answers 200 to a transaction when that is on the disk.
type Listener struct {
	opts        ListenerOptions
	token       [sha256.Size]byte // of hs_token
	nonce       string
	connections connections

	// Inbound is whether the homeserver reaches the listener.
	Inbound  InboundHealth
	stopping atomic.Bool
	// leftOut counts the events of rooms that had too many in the journal; leftOutLog
	// limits the log lines about them.
	leftOut    atomic.Int64
	leftOutLog *rate.Limiter
	library    atomic.Pointer[http.ServeMux] // users, rooms, provisioning; nil while there is no bridge

	server  *http.Server
	address net.Addr
	ended   chan struct{} // closed when the server has ended
	err     error         // why; read after ended
}

// ListenerOptions configures a [Listener].
type ListenerOptions struct {
	Node Node
	Log  *slog.Logger
	// Token is the token with which the homeserver authenticates itself, hs_token.
	Token string
	// Domain is that of the homeserver.
	Domain string
	// Stored is called when there is a new transaction in the journal.
	Stored func()
	// Files, if set, answers the requests below FilesPath, which anybody may make. It calls
	// admitted for those whose connection strangers must not take away.
	Files     func(w http.ResponseWriter, r *http.Request, admitted func())
	FilesPath string
}

// NewListener returns a listener that does nothing before Open.
func NewListener(opts ListenerOptions) *Listener {
	return &Listener{
		opts: opts, nonce: rand.Text(), ended: make(chan struct{}),
		token: sha256.Sum256([]byte(opts.Token)), leftOutLog: rate.NewLimiter(rate.Every(10*time.Second), 5),
	}
}

// Address returns where the listener listens, after Open.
func (l *Listener) Address() net.Addr { return l.address }

// Ended is closed when the server has ended, and Err says why then.
func (l *Listener) Ended() <-chan struct{} { return l.ended }

// Err returns why the server has ended, after the end of Ended.
func (l *Listener) Err() error { return l.err }

// SetRoutes gives the listener what answers all other requests: users, rooms and
// provisioning. Nil means that the bridge is starting.
func (l *Listener) SetRoutes(routes *http.ServeMux) { l.library.Store(routes) }

// Open listens, and tests that this listener answers at its address.
func (l *Listener) Open(ctx context.Context, hostname string, port uint16) error {
	var socket net.Listener
	var err error
	if strings.HasPrefix(hostname, "/") {
		socket, err = unixsocket.Listen(ctx, hostname)
	} else {
		socket, err = new(net.ListenConfig).Listen(ctx, "tcp", net.JoinHostPort(hostname, strconv.Itoa(int(port))))
	}
	if err != nil {
		return fmt.Errorf("listen for the homeserver: %w", err)
	}
	l.address = socket.Addr()
	socket = &countedListener{Listener: socket, connections: &l.connections}
	l.server = &http.Server{
		Handler:           l.routes(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       2 * time.Minute,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    64 << 10,
		ConnContext:       withConnection,
		ErrorLog:          slog.NewLogLogger(l.opts.Log.Handler(), slog.LevelDebug),
	}
	go func() {
		l.err = l.server.Serve(socket)
		close(l.ended)
	}()
	if err := l.Test(ctx); err != nil {
		l.Close(0)
		return err
	}
	return nil
}

// Refuse answers 503 to transactions from now on. The homeserver keeps them.
func (l *Listener) Refuse() { l.stopping.Store(true) }

// Close ends the server, after waiting at most wait for the requests that are being
// answered.
func (l *Listener) Close(wait time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), wait)
	defer cancel()
	if l.server.Shutdown(ctx) != nil {
		_ = l.server.Close()
	}
	<-l.ended
}

var errSelfTest = errors.New("the listener for the homeserver does not answer itself")

// Test checks that this listener answers at its address, and not another program.
func (l *Listener) Test(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, l.address.Network(), dialable(l.address))
		},
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://listener"+selfTestPath, nil)
	if err != nil {
		return fmt.Errorf("%w: %w", errSelfTest, err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", errSelfTest, err)
	}
	defer resp.Body.Close()
	if resp.Header.Get(selfTestName) != l.nonce {
		return fmt.Errorf("%w: another program answers at %s", errSelfTest, l.address)
	}
	return nil
}

// dialable returns an address to dial for the address of a listener, which may stand for
// all interfaces.
func dialable(address net.Addr) string {
	tcp, ok := address.(*net.TCPAddr)
	if !ok || !tcp.IP.IsUnspecified() {
		return address.String()
	}
	loopback := net.IPv6loopback
	if tcp.IP.To4() != nil {
		loopback = net.IPv4(127, 0, 0, 1)
	}
	return (&net.TCPAddr{IP: loopback, Port: tcp.Port}).String()
}

func (l *Listener) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /_matrix/app/v1/transactions/{txn}", l.authenticated(l.transaction))
	mux.HandleFunc("POST /_matrix/app/v1/ping", l.authenticated(func(w http.ResponseWriter, _ *http.Request) {
		l.Inbound.noteHeard()
		writeOK(w)
	}))
	mux.HandleFunc("GET "+selfTestPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set(selfTestName, l.nonce)
		writeOK(w)
	})
	mux.HandleFunc("GET "+HeardPath, l.authenticated(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(l.Inbound.Heard())
	}))
	if l.opts.Files != nil {
		mux.HandleFunc(l.opts.FilesPath, func(w http.ResponseWriter, r *http.Request) {
			l.opts.Files(w, r, func() { l.connections.trust(r) })
		})
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if l.isForeign(r) {
			writeFailure(w, http.StatusUnauthorized, mautrix.MUnknownToken.ErrCode, "only users of this homeserver may do that")
			return
		}
		if library := l.library.Load(); library != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxTransaction)
			library.ServeHTTP(w, r)
			return
		}
		writeFailure(w, http.StatusServiceUnavailable, "M_UNKNOWN", "the bridge is starting")
	})
	return mux
}

// isForeign reports whether a request has a token that another server would have to
// verify: a stranger must not choose the servers that the bridge connects to.
func (l *Listener) isForeign(r *http.Request) bool {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	return strings.HasPrefix(token, "openid:") && id.UserID(r.URL.Query().Get("user_id")).Homeserver() != l.opts.Domain
}

func (l *Listener) authenticated(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		if !ok {
			if r.Method == http.MethodPut {
				l.Inbound.noteRefused()
			}
			writeFailure(w, http.StatusUnauthorized, mautrix.MMissingToken.ErrCode, "no access token")
			return
		}
		// Hashes have one length: the comparison tells nothing about the token.
		given := sha256.Sum256([]byte(token))
		if subtle.ConstantTimeCompare(given[:], l.token[:]) != 1 {
			if r.Method == http.MethodPut {
				l.Inbound.noteRefused() // a transaction: it is the homeserver, or a program that claims to be
			}
			writeFailure(w, http.StatusForbidden, mautrix.MForbidden.ErrCode, "wrong access token")
			return
		}
		l.connections.trust(r)
		next(w, r)
	}
}

// transaction stores the events of a transaction and answers 200.
func (l *Listener) transaction(w http.ResponseWriter, r *http.Request) {
	l.Inbound.noteHeard()
	if l.stopping.Load() {
		writeFailure(w, http.StatusServiceUnavailable, "M_UNKNOWN", "the bridge is stopping")
		return
	}
	var body bytes.Buffer
	if _, err := body.ReadFrom(http.MaxBytesReader(w, r.Body, maxTransaction)); err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			l.opts.Log.Warn("transaction too large, refused", "limit", maxTransaction)
			writeFailure(w, http.StatusRequestEntityTooLarge, mautrix.MTooLarge.ErrCode, "transaction too large")
			return
		}
		writeFailure(w, http.StatusBadRequest, mautrix.MNotJSON.ErrCode, "cannot read the body")
		return
	}
	entries, unreadable, err := journalEntries(r.PathValue("txn"), body.Bytes())
	if err != nil {
		l.opts.Log.Warn("malformed transaction, refused", "err", err)
		writeFailure(w, http.StatusBadRequest, mautrix.MBadJSON.ErrCode, "malformed transaction")
		return
	}
	if unreadable > 0 {
		l.opts.Log.Warn("dropping events without an id or a room", "count", unreadable)
	}
	crashpoint.At(crashpoint.BeforeTransaction)
	ctx, cancel := context.WithTimeout(r.Context(), journalTimeout)
	defer cancel()
	leftOut, err := appendEntries(ctx, l.opts.Node, entries)
	if err != nil {
		l.opts.Log.Warn("transaction not stored, refused", "err", err)
		writeFailure(w, http.StatusServiceUnavailable, "M_UNKNOWN", "cannot store the transaction")
		return
	}
	if leftOut > 0 {
		total := l.leftOut.Add(int64(leftOut))
		if l.leftOutLog.Allow() {
			l.opts.Log.Warn("too many events of a room, leaving out others", "count", leftOut, "total", total)
		}
	}
	crashpoint.At(crashpoint.BeforeTransactionOK)
	l.opts.Stored()
	writeOK(w)
	_ = http.NewResponseController(w).Flush() // all of it; without an answer the homeserver sends it again
	crashpoint.At(crashpoint.AfterTransactionOK)
}

func writeOK(w http.ResponseWriter) {
	const body = "{}"
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write([]byte(body)) // a homeserver that has left sends it again
}

func writeFailure(w http.ResponseWriter, status int, code, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]string{"errcode": code, "error": text})
}
