// SPDX-License-Identifier: MPL-2.0

package control

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/mimird/mimird/actors/control/changes"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The event log as a stream of server-sent events, and beside it, for those who ask for
// them, the changes of what is in no log.

const (
	// eventPage is how many events are read from the log at once.
	eventPage = 100
	// followPatience is how long a follower of the event log may read nothing while
	// there is something to read. Bots take their time over an event, and people stop
	// the output in a terminal; a waiting follower costs a goroutine.
	followPatience = 24 * time.Hour
	// signEvery is how often a quiet stream has a comment, so that its reader knows that
	// there is still a node.
	signEvery = 15 * time.Second
	// presenceEvery and statusEvery are how often a stream with changes compares.
	presenceEvery = time.Second
	statusEvery   = 5 * time.Second
)

// Change is something that is different from before and in no log.
type Change = changes.Change

// LastEvent is where the log of an account ends.
type LastEvent struct {
	Seq uint64 `json:"seq" doc:"Sequence number of the newest event, 0 for none"`
}

func (s *service) registerFollow(api huma.API) {
	huma.Get(api, "/v1/accounts/{account}/events/last", s.lastEvent)
	schemas := api.OpenAPI().Components.Schemas
	one := func(name string, of any) *huma.Schema {
		return &huma.Schema{
			Title: "Event " + name, Type: huma.TypeObject, Required: []string{"event", "data"},
			Properties: map[string]*huma.Schema{
				"id":    {Type: huma.TypeInteger, Description: "Sequence number of the event; changes have none"},
				"event": {Type: huma.TypeString, Extensions: map[string]any{"const": name}},
				"data":  schemas.Schema(reflect.TypeOf(of), true, name),
			},
		}
	}
	huma.Register(api, huma.Operation{
		OperationID: "follow-events", Method: http.MethodGet, Path: "/v1/accounts/{account}/events", Summary: "Follow the event log",
		Description: "Server-sent events. The answer begins at once with a comment, and a quiet stream has another one every 15 seconds.",
		Responses: map[string]*huma.Response{"200": {Description: "OK", Content: map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{
			Title: "Server-sent events", Type: huma.TypeArray,
			Items: &huma.Schema{OneOf: []*huma.Schema{one("event", Event{}), one("change", Change{})}},
		}}}}},
	}, s.follow)
}

func (s *service) lastEvent(_ context.Context, in *AccountPath) (*body[LastEvent], error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	seq, err := s.node.LastEvent(account)
	return &body[LastEvent]{LastEvent{seq}}, problem(err)
}

// followInput asks for the event log from somewhere on.
type followInput struct {
	AccountPath
	After       int64  `query:"after" default:"-1" doc:"Sequence number after which to begin; -1 for what comes from now on"`
	LastEventID string `header:"Last-Event-ID" doc:"As after, and counts before it: browsers send it when they connect again"`
	Changes     bool   `query:"changes" doc:"Also tell who comes and goes, and how the node is"`
}

// follow streams the events of an account as they are appended to its log.
func (s *service) follow(_ context.Context, in *followInput) (*huma.StreamResponse, error) {
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	if seq, err := strconv.ParseInt(in.LastEventID, 10, 64); err == nil && seq >= 0 {
		in.After = seq
	}
	f := follower{s: s, account: account, after: uint64(max(in.After, 0))}
	if in.After < 0 {
		if f.after, err = s.node.LastEvent(account); err != nil {
			return nil, problem(err)
		}
	}
	if in.Changes {
		f.changes = changes.New(s.node, account)
	}
	return &huma.StreamResponse{Body: func(c huma.Context) {
		_, w := humago.Unwrap(c)
		f.w, f.deadlines = w, http.NewResponseController(w)
		w.Header().Set("Content-Type", "text/event-stream")
		w.Header().Set("Cache-Control", "no-store")
		f.run(c.Context())
	}}, nil
}

// follower is one stream.
type follower struct {
	s       *service
	account identity.PublicKey
	after   uint64
	changes *changes.Watcher // nil when they were not asked for

	w         http.ResponseWriter
	deadlines *http.ResponseController
}

// run streams until the client is gone, the node stops or the log cannot be read.
func (f *follower) run(ctx context.Context) {
	if f.write([]byte(": open\n\n")) != nil {
		return
	}
	watch := f.s.node.WatchEvents()
	defer watch.Close()
	signs := time.NewTicker(signEvery)
	defer signs.Stop()
	var looks, asks <-chan time.Time
	if f.changes != nil {
		look, ask := time.NewTicker(presenceEvery), time.NewTicker(statusEvery)
		defer look.Stop()
		defer ask.Stop()
		looks, asks = look.C, ask.C
	}
	for {
		more, err := f.events()
		if err != nil {
			return
		}
		if more {
			continue
		}
		var changed []Change
		select {
		case <-ctx.Done():
			return
		case _, open := <-watch.C():
			if !open {
				return
			}
		case <-signs.C:
			err = f.write([]byte(": alive\n\n"))
		case <-looks:
			changed = f.changes.Presence()
		case <-asks:
			changed = f.changes.Status(ctx)
		}
		for _, c := range changed {
			if err == nil {
				err = f.send("change", 0, c)
			}
		}
		if err != nil {
			return // the client is gone
		}
	}
}

// events sends the next events of the log, and reports whether there were any.
func (f *follower) events() (more bool, err error) {
	events, err := f.s.node.Events(f.account, f.after, eventPage)
	if err != nil {
		return false, err
	}
	for _, e := range events {
		f.after = e.Seq
		view := f.s.event(f.account, e)
		if !f.s.encodable(view) {
			continue
		}
		if err := f.send("event", e.Seq, view); err != nil {
			return false, err
		}
	}
	return len(events) > 0, nil
}

// send writes one event of the stream; without an id when that is 0.
func (f *follower) send(name string, id uint64, data any) error {
	raw, err := json.Marshal(data)
	if err != nil {
		return fmt.Errorf("encode event: %w", err)
	}
	var b bytes.Buffer
	if id > 0 {
		fmt.Fprintf(&b, "id: %d\n", id)
	}
	fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", name, raw)
	return f.write(b.Bytes())
}

func (f *follower) write(raw []byte) error {
	_ = f.deadlines.SetWriteDeadline(time.Now().Add(followPatience)) // pipes in memory have none
	if _, err := f.w.Write(raw); err != nil {
		return err
	}
	return f.deadlines.Flush()
}

// encodable reports whether an event can be sent. One that cannot be is counted and
// logged, and the follower goes on with the next: otherwise it would end at the same
// event each time it is started.
func (s *service) encodable(e Event) bool {
	if _, err := json.Marshal(e); err != nil {
		s.unencodable.Add(1)
		s.log.Error("event cannot be encoded", "event", e.Seq, "contact", e.Contact, "err", err)
		return false
	}
	return true
}

func (s *service) event(account identity.PublicKey, e store.Event) Event {
	out := Event{Seq: e.Seq, Kind: e.Kind.String(), Time: e.Time.Time(), Reason: e.Reason}
	switch {
	case e.Conversation.IsZero():
	case e.Conversation.Kind() == store.KindGroup:
		out.Group, out.Task = e.Conversation.String(), e.Task
		if g, err := s.node.Group(account, e.Conversation); err == nil {
			out.Name = g.Name
		}
		if !e.Member.IsZero() {
			out.Member, out.MemberName = e.Member.String(), s.memberName(account, e.Conversation, e.Member)
		}
	default:
		out.Contact = e.Conversation.String()
		if c, err := s.node.Contact(account, e.Conversation.Contact()); err == nil {
			out.Name = c.DisplayName()
			if e.Kind == store.RequestReceived {
				out.Request = c.Request
			}
		}
	}
	if e.Message != (store.MessageID{}) {
		if m, err := s.node.ConversationMessage(account, e.Conversation, e.Message); err == nil {
			view := s.message(m)
			out.Message = &view
		}
	}
	if e.Kind == store.ConversationRead {
		out.Order = e.Order
	}
	if e.Kind == store.ContactAnswered {
		out.Accepted = &e.Accepted
	}
	if !e.NodeKey.IsZero() {
		out.Node = e.NodeKey.String()
	}
	return out
}
