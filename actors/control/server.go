// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/mimird/mimird/actors/control/browsers"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/search"
	"github.com/mimird/mimird/actors/unixsocket"
)

const (
	// maxBody bounds a request: the largest text, of which JSON makes up to six
	// bytes for one.
	maxBody = 8 << 20
	// readTime is how long a client may take to send its request.
	readTime = 30 * time.Second
	// drainTime is how long requests under way get when the node stops.
	drainTime = 2 * time.Second
	// lookEvery is how often the server checks that the socket still has its
	// name: a cleaner of temporary files may remove it.
	lookEvery = 2 * time.Second
)

// Options configures the control API.
type Options struct {
	// Socket is the path of the unix socket. One that is there already belonged to
	// a process that has ended: a second process cannot open the data directory.
	Socket string
	// Version is what Status shows.
	Version string
	// Parts add to Status what other parts of the process say of themselves, as
	// something that can be marshalled to JSON.
	Parts map[string]func(ctx context.Context) (any, error)
	// Handlers answer GET requests of further paths, such as /metrics. They are created with
	// what asks for the status.
	Handlers map[string]func(Ask) http.Handler
	// Consumers are the names of those who read the event log, for what has become
	// of a message.
	Consumers []string
	// Search finds messages; nil when this process keeps no index.
	Search *search.Service
	// Page is the page for browsers; nil when this process has none.
	Page browsers.Page
	// Backup writes a backup of the node and returns what is not in it; nil when this
	// process makes none.
	Backup func(ctx context.Context, n *node.Node, w io.Writer, request BackupRequest) (left []string, err error)
}

// Ask is what those who watch a node ask it. The client of this API is one, and so is the
// API of a node in its own process.
type Ask interface {
	Status(ctx context.Context) (Status, error)
	Actors(ctx context.Context) ([]Actors, error)
}

// New returns the control API as a part of a node; see node.Part.
func New(opts Options) func(*node.Node) kernel.Actor {
	return func(n *node.Node) kernel.Actor { return &controlActor{opts: opts, node: n} }
}

// controlActor owns the listener and its HTTP server.
type controlActor struct {
	opts Options
	node *node.Node
}

// Started implements kernel.Starter.
func (a *controlActor) Started(c *kernel.Context) error {
	listener, err := listen(c.Lifetime(), a.opts.Socket)
	if err != nil {
		return err
	}
	own, err := os.Lstat(a.opts.Socket)
	if err != nil {
		return errors.Join(fmt.Errorf("listen for commands: %w", err), listener.Close())
	}
	server := &http.Server{
		Handler:           handler(a.node, a.opts, c.Log()),
		ReadTimeout:       readTime,
		ReadHeaderTimeout: readTime,
		// Requests end with the node.
		BaseContext: func(net.Listener) context.Context { return c.Lifetime() },
	}
	c.Go("serve", func(ctx context.Context) error {
		ended := make(chan error, 1)
		go func() { ended <- server.Serve(listener) }()
		look := time.NewTicker(lookEvery)
		defer look.Stop()
		for ctx.Err() == nil {
			select {
			case err := <-ended:
				return err
			case <-look.C:
				if now, err := os.Lstat(a.opts.Socket); err != nil || !os.SameFile(own, now) {
					listener.SetUnlinkOnClose(false) // the name belongs to another file now, if to any
					err = errors.Join(errSocketGone, server.Close())
					<-ended
					return err
				}
			case <-ctx.Done():
			}
		}
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		err := server.Shutdown(drain)
		if err != nil {
			err = server.Close()
		}
		<-ended
		return err
	})
	return nil
}

// Receive implements kernel.Actor.
func (a *controlActor) Receive(c *kernel.Context, msg any) {
	if done, ok := msg.(kernel.TaskDone); ok {
		c.Fail(fmt.Errorf("control API: %w", done.Err))
	}
}

// errSocketGone has the actor start again, and with it the socket.
var errSocketGone = errors.New("the control socket was removed")

// listen opens the socket for its owner alone.
func listen(ctx context.Context, path string) (*net.UnixListener, error) {
	listener, err := unixsocket.Listen(ctx, path)
	switch {
	case errors.Is(err, unixsocket.ErrNotASocket):
		return nil, fmt.Errorf("listen for commands: %w; set control.socket to another path", err)
	case err != nil:
		return nil, fmt.Errorf("listen for commands (a socket's path has at most about 100 characters): %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("make control socket private: %w", err), listener.Close())
	}
	return listener, nil
}

// Handler returns the API of a node without a socket, for programs that have opened the
// node themselves. It logs to the default logger.
func Handler(n *node.Node, opts Options) http.Handler { return handler(n, opts, slog.Default()) }

func handler(n *node.Node, opts Options, log *slog.Logger) http.Handler {
	mux := http.NewServeMux()
	config := huma.DefaultConfig("mimird control API", opts.Version)
	config.DocsPath = "" // would load scripts from other hosts
	config.CreateHooks = nil
	api := humago.New(mux, config)
	s := &service{node: n, opts: opts, log: log}
	s.register(api)
	s.registerChats(api, mux)
	for path, handler := range opts.Handlers {
		mux.Handle("GET "+path, handler(inside{s}))
	}
	bounded := http.NewServeMux()
	bounded.Handle("/", http.MaxBytesHandler(mux, maxBody))
	// A file may be as large as the node's limit, and is never in memory.
	bounded.HandleFunc("POST /v1/accounts/{account}/conversations/{conversation}/files", s.sendFileToChat)
	return bounded
}

// service answers requests.
type service struct {
	node *node.Node
	opts Options
	log  *slog.Logger
	// unencodable counts events that could not be sent to a follower.
	unencodable atomic.Uint64
}

func (s *service) parts(ctx context.Context) map[string]json.RawMessage {
	out := make(map[string]json.RawMessage, len(s.opts.Parts))
	for name, ask := range s.opts.Parts {
		answer, err := ask(ctx)
		if err != nil {
			answer = map[string]string{"error": err.Error()}
		}
		raw, err := json.Marshal(answer)
		if err != nil {
			raw, _ = json.Marshal(map[string]string{"error": err.Error()}) // a map of strings always marshals
		}
		out[name] = raw
	}
	return out
}
