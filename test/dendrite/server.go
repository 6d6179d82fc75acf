// SPDX-License-Identifier: MPL-2.0

package dendrite

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mimird/mimird/test/process"
)

const (
	// DefaultServerName is the domain of a server that is given none.
	DefaultServerName = "mimir.test"

	logFile = "dendrite.log"
	// pollEvery is how often a starting server is asked whether it answers.
	pollEvery = 50 * time.Millisecond
	// startTries is how many free ports are tried, should another program take
	// one between our choosing it and Dendrite's listening on it.
	startTries = 3
	// crashTries is how often a server that crashes while it starts is started.
	crashTries = 10
)

// ErrNotRunning means that the server has ended or was stopped.
var ErrNotRunning = errors.New("dendrite is not running")

// Options say what to start.
type Options struct {
	// Dir holds everything the server writes. It is created when it is missing; a
	// server started on the same folder goes on where it ended. Required.
	Dir string
	// Registrations are the paths of application service registration files.
	// They must exist: the server reads them once, when it starts.
	Registrations []string
	// ServerName is the domain of the user ids. Empty means DefaultServerName.
	// It cannot change once Dir is in use.
	ServerName string
	// Address is the host and port to listen on. Empty means a free port on
	// loopback.
	Address string
	// Program is the path of a Dendrite program. Empty means what Build returns.
	Program string
	// Build is used when Program is empty.
	Build BuildOptions
}

// Server is a Dendrite that was started. Its methods may be called from any
// goroutine.
type Server struct {
	opts   Options
	secret string // shared with Dendrite, allows to create users

	mu      sync.Mutex
	current *process.Process // nil when stopped
}

// Start starts a server and returns when it answers. The caller calls
// [Server.Stop] or [Server.Kill]; on Linux it also ends with this process.
// Cancelling ctx ends the waiting, and the server when it does not answer yet,
// but not a server that was returned.
func Start(ctx context.Context, opts Options) (*Server, error) {
	if opts.Dir == "" {
		return nil, errors.New("start dendrite: no folder given")
	}
	if opts.ServerName == "" {
		opts.ServerName = DefaultServerName
	}
	opts.Registrations = slices.Clone(opts.Registrations)
	if opts.Program == "" {
		program, err := Build(ctx, opts.Build)
		if err != nil {
			return nil, err
		}
		opts.Program = program
	}
	s := &Server{opts: opts, secret: rand.Text()}
	for try := 1; ; try++ {
		if opts.Address == "" {
			address, err := process.FreeAddress(ctx)
			if err != nil {
				return nil, fmt.Errorf("start dendrite: %w", err)
			}
			s.opts.Address = address
		}
		err := s.Restart(ctx)
		if err == nil {
			return s, nil
		}
		if opts.Address != "" || try == startTries || !errors.Is(err, errPortTaken) {
			return nil, err
		}
	}
}

// URL is the address of the client API, without a slash at its end.
func (s *Server) URL() string { return "http://" + s.opts.Address }

// ServerName is the domain of the server's user ids.
func (s *Server) ServerName() string { return s.opts.ServerName }

// LogPath is the file that the server logs to.
func (s *Server) LogPath() string { return filepath.Join(s.opts.Dir, logFile) }

// Restart stops the server when it runs and starts it on the same folder and
// address. What a homeserver keeps in memory, such as transaction ids, is gone
// then.
func (s *Server) Restart(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.stopLocked((*process.Process).Stop); err != nil {
		return err
	}
	if err := os.MkdirAll(s.opts.Dir, 0o700); err != nil {
		return fmt.Errorf("start dendrite: make its folder: %w", err)
	}
	err := writeConfig(s.opts.Dir, configValues{
		ServerName:    s.opts.ServerName,
		Registrations: slices.Clone(s.opts.Registrations),
		SharedSecret:  s.secret,
	})
	if err != nil {
		return fmt.Errorf("start dendrite: %w", err)
	}
	for range crashTries {
		if s.current, err = s.launch(ctx); !errors.Is(err, errCrashed) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("start dendrite: %w", err)
	}
	return nil
}

// Stop asks the server to end, kills it when it does not within 15 seconds, and
// returns when it is gone. Stopping a stopped server does nothing.
func (s *Server) Stop() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopLocked((*process.Process).Stop)
}

// Kill ends the server at once, as a power cut would, and returns when it is
// gone.
func (s *Server) Kill() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.stopLocked((*process.Process).Kill)
}

// Running reports whether the process is there. A server that ended by itself
// left the reason in its log.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current == nil {
		return false
	}
	select {
	case <-s.current.Ended():
		return false
	default:
		return true
	}
}

func (s *Server) stopLocked(end func(*process.Process) error) error {
	if s.current == nil {
		return nil
	}
	if err := end(s.current); err != nil {
		return fmt.Errorf("stop dendrite: %w", err)
	}
	s.current = nil
	return nil
}

// launch starts the program and returns it when it answers.
func (s *Server) launch(ctx context.Context) (*process.Process, error) {
	p, err := process.Start(process.Spec{
		Program: s.opts.Program,
		Args: []string{
			"-config", configFile,
			"-http-bind-address", s.opts.Address,
			"-https-bind-address", "127.0.0.1:0", // without a certificate nothing listens there
		},
		Dir: s.opts.Dir, Log: s.LogPath(),
	})
	if err != nil {
		return nil, err
	}
	if err := s.awaitAnswer(ctx, p); err != nil {
		return nil, errors.Join(err, p.Kill())
	}
	return p, nil
}

var (
	errPortTaken = errors.New("the port is taken")
	// errCrashed: Dendrite v0.15.2 may use a part of itself before it has made it
	// when it was killed before and a change of device keys is left to be dealt with
	// (federationapi's KeyChangeConsumer). The next start is another throw of the
	// same dice.
	errCrashed = errors.New("it crashed")
)

// awaitAnswer returns when the server answers, or when it never will.
func (s *Server) awaitAnswer(ctx context.Context, p *process.Process) error {
	client := &http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		answered := answers(ctx, client, s.URL()+"/_matrix/client/versions")
		select {
		case <-p.Ended(): // another process answered
			return s.whyEnded(p)
		default:
		}
		if answered {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.Ended():
		case <-tick.C:
		}
	}
}

func (s *Server) whyEnded(p *process.Process) error {
	tail := p.LogTail()
	if strings.Contains(tail, "address already in use") {
		return fmt.Errorf("%w: %s", errPortTaken, s.opts.Address)
	}
	if strings.Contains(tail, "\npanic: ") {
		return fmt.Errorf("%w; the end of %s:\n%s", errCrashed, s.LogPath(), tail)
	}
	how := p.Err()
	if how == nil {
		how = errors.New("without an error")
	}
	return fmt.Errorf("it ended (%w); the end of %s:\n%s", how, s.LogPath(), tail)
}

func answers(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	defer resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}
