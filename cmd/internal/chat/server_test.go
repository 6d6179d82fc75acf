// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"testing"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

// server serves a fake on a socket, in the place of a node.
type server struct {
	t      *testing.T
	f      *fake
	socket string
	http   *http.Server
	ended  chan error
}

func serve(t *testing.T, f *fake, socket string) *server {
	t.Helper()
	s := &server{t: t, f: f, socket: socket}
	t.Cleanup(s.stop)
	return s
}

func (s *server) start() {
	s.t.Helper()
	listener, err := new(net.ListenConfig).Listen(s.t.Context(), "unix", s.socket)
	if err != nil {
		s.t.Fatal(err)
	}
	mux := http.NewServeMux()
	const account, chat = "/v1/accounts/{account}", "/v1/accounts/{account}/conversations/{chat}"
	reply := func(pattern string, effect func(*http.Request) Effect) {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { s.answer(w, s.f.answer(effect(r))) })
	}
	reply("GET /v1/accounts", func(*http.Request) Effect { return askAccounts{} })
	reply("GET "+account+"/conversations", func(r *http.Request) Effect { return askChats{r.PathValue("account")} })
	reply("GET "+chat, func(r *http.Request) Effect { return askChat{r.PathValue("account"), r.PathValue("chat")} })
	reply("GET "+chat+"/messages", func(r *http.Request) Effect {
		number := func(name string) uint64 {
			n, _ := strconv.ParseUint(r.URL.Query().Get(name), 10, 64)
			return n
		}
		which := control.Range{Before: number("before"), After: number("after"), Limit: int(number("limit"))}
		return askMessages{account: r.PathValue("account"), chat: r.PathValue("chat"), which: which}
	})
	reply("GET "+chat+"/messages/{id}", func(r *http.Request) Effect {
		return askMessage{account: r.PathValue("account"), chat: r.PathValue("chat"), id: r.PathValue("id")}
	})
	reply("POST "+chat+"/messages", func(r *http.Request) Effect {
		text := body[control.Text](r)
		return sendNext{outgoing{account: r.PathValue("account"), chat: r.PathValue("chat"), source: text.Source, text: text.Text, reply: text.ReplyTo}}
	})
	reply("POST "+chat+"/read", func(r *http.Request) Effect {
		return markRead{r.PathValue("account"), r.PathValue("chat"), body[control.ReadMark](r).Order}
	})
	reply("POST "+chat+"/reactions", func(r *http.Request) Effect {
		reaction := body[control.Reaction](r)
		return act{kind: actReact, account: r.PathValue("account"), chat: r.PathValue("chat"), message: reaction.Message, text: reaction.Emoji}
	})
	mux.HandleFunc("GET "+account+"/events/last", func(w http.ResponseWriter, r *http.Request) {
		s.f.mu.Lock()
		defer s.f.mu.Unlock()
		write(w, control.LastEvent{Seq: uint64(len(s.f.logs[r.PathValue("account")]))})
	})
	mux.HandleFunc("GET "+account+"/events", s.events)
	s.http = &http.Server{Handler: mux} //nolint:gosec // of a test
	s.ended = make(chan error, 1)
	go func(h *http.Server) { s.ended <- h.Serve(listener) }(s.http)
}

// stop is the node going away.
func (s *server) stop() {
	if s.http == nil {
		return
	}
	_ = s.http.Close() // its listener and connections are what it closes
	if err := <-s.ended; !errors.Is(err, http.ErrServerClosed) {
		s.t.Error(err)
	}
	s.http = nil
}

// answer writes what the fake answers as the API does.
func (s *server) answer(w http.ResponseWriter, in Input) {
	var value any
	var err error
	switch in := in.(type) {
	case gotAccounts:
		value, err = in.accounts, in.err
	case gotChats:
		value, err = in.chats, in.err
	case gotChat:
		value, err = in.conversation, in.err
	case gotMessages:
		value, err = in.messages, in.err
	case gotMessage:
		value, err = in.message, in.err
	case sent:
		value, err = control.Message{}, in.err
	case did:
		value, err = control.Message{}, in.err
	}
	if err != nil {
		status := http.StatusInternalServerError
		if refused, ok := errors.AsType[*client.Error](err); ok {
			status = refused.Status
		}
		w.WriteHeader(status)
		value = map[string]string{"title": http.StatusText(status), "detail": err.Error()}
	}
	write(w, value)
}

func write(w http.ResponseWriter, value any) {
	raw, err := json.Marshal(value)
	if err != nil {
		panic(err)
	}
	_, _ = w.Write(raw) // the client may be gone
}

func body[T any](r *http.Request) (value T) {
	if err := json.NewDecoder(r.Body).Decode(&value); err != nil {
		panic(err)
	}
	return value
}

// events streams the log of an account.
func (s *server) events(w http.ResponseWriter, r *http.Request) {
	after, _ := strconv.Atoi(r.URL.Query().Get("after"))
	flush := http.NewResponseController(w)
	fmt.Fprint(w, ": open\n\n")
	for {
		s.f.mu.Lock()
		log, news := s.f.logs[r.PathValue("account")], s.f.news
		s.f.mu.Unlock()
		for ; after < len(log); after++ {
			raw, err := json.Marshal(log[after])
			if err != nil {
				panic(err)
			}
			fmt.Fprintf(w, "id: %d\nevent: event\ndata: %s\n\n", after+1, raw)
		}
		if flush.Flush() != nil {
			return
		}
		select {
		case <-news:
		case <-r.Context().Done():
			return
		}
	}
}
