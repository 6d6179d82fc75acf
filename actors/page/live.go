// SPDX-License-Identifier: MPL-2.0

package page

import (
	"bytes"
	"context"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/changes"
)

const (
	// maxStreams is how many streams a session may have at a time.
	maxStreams = 16
	// signEvery is how often a stream that is quiet says that it is there.
	signEvery = 15 * time.Second
	// maxMissed is how many events a page is told of that was away; a page that has missed
	// more is loaded again.
	maxMissed = 500
	// callMissed is the kind of event of a missed call.
	callMissed = "call_missed"
	// streamTime is how long a browser may take to read what a stream has.
	streamTime = time.Minute
)

// stream is an open stream of server-sent events.
type stream struct {
	mu        sync.Mutex
	w         http.ResponseWriter
	deadlines *http.ResponseController
}

// send sends an event: named ones reach the page's elements, others are markup.
func (t *stream) send(id uint64, name, data string) error {
	var b bytes.Buffer
	if id > 0 {
		b.WriteString("id: " + strconv.FormatUint(id, 10) + "\n")
	}
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(data, "\r", " "), "\n") {
		b.WriteString("data: " + line + "\n")
	}
	b.WriteString("\n")
	return t.write(b.Bytes())
}

func (t *stream) write(raw []byte) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	_ = t.deadlines.SetWriteDeadline(time.Now().Add(streamTime)) // a recorder in a test has none
	if _, err := t.w.Write(raw); err != nil {
		return err
	}
	return t.deadlines.Flush()
}

// watcher turns the events of an account into changes of one open page.
type watcher struct {
	s       *server
	out     *stream
	account string
	// chat is the conversation that is shown, "" for none, and last the order of its last
	// message in the page.
	chat string
	last uint64
}

// live streams what changes in a page: messages of the conversation that is shown as
// markup, everything else by name, for which the page asks again.
func (s *server) live(w http.ResponseWriter, r *request) {
	select {
	case r.session.streams <- struct{}{}:
		defer func() { <-r.session.streams }()
	default:
		http.Error(w, "Too many pages are open in this browser.", http.StatusTooManyRequests)
		return
	}
	query := r.URL.Query()
	after := int64(-1)
	for _, text := range []string{query.Get("after"), r.Header.Get("Last-Event-ID")} {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil && n >= 0 {
			after = n
		}
	}
	watch := &watcher{
		s: s, out: &stream{w: w, deadlines: http.NewResponseController(w)},
		account: r.PathValue("account"), chat: r.PathValue("chat"),
	}
	watch.last, _ = strconv.ParseUint(query.Get("last"), 10, 64)
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	newest, err := s.api.LastEvent(ctx, watch.account)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	_ = watch.out.deadlines.SetReadDeadline(time.Time{}) // a recorder in a test has none
	w.Header().Set("Content-Type", "text/event-stream")
	w.Header().Set("X-Accel-Buffering", "no") // proxies pass it on at once
	if watch.out.write([]byte(": open\n\n")) != nil {
		return
	}
	if after >= 0 && newest > uint64(after)+maxMissed {
		_ = watch.out.send(newest, "stale", "-") // the page is loaded again
		return
	}
	var signs sync.WaitGroup
	signs.Go(func() {
		defer cancel()
		s.signOfLife(ctx, r, watch.out)
	})
	// Whatever it ends by, the browser comes again.
	_ = s.api.FollowLive(ctx, watch.account, after,
		func(e control.Event) error { return watch.event(ctx, e) }, func(c control.Change) error { return watch.change(ctx, c) })
	cancel()
	signs.Wait()
}

// signOfLife writes to a stream from time to time, and returns when nobody reads it or the
// session has ended.
func (s *server) signOfLife(ctx context.Context, r *request, out *stream) {
	tick := time.NewTicker(signEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-r.session.ended:
			return
		case <-tick.C:
		}
		if found, err := s.access.find(r.token); err != nil || found == nil || out.write([]byte(": alive\n\n")) != nil {
			return
		}
	}
}

// event passes on an event of the log.
func (t *watcher) event(ctx context.Context, e control.Event) error {
	ctx, cancel := context.WithTimeout(ctx, askTime)
	defer cancel()
	markup := ""
	if t.chat != "" && (e.Contact == t.chat || e.Group == t.chat) {
		var err error
		if markup, err = t.changed(ctx, e); err != nil {
			markup = "" // the message is gone; the list is asked for below all the same
		}
	}
	if markup != "" {
		if err := t.out.send(e.Seq, "", markup); err != nil {
			return err
		}
	}
	return t.out.send(e.Seq, "chats", e.Kind)
}

// changed renders what an event has changed in the conversation that is shown.
func (t *watcher) changed(ctx context.Context, e control.Event) (string, error) {
	if e.Kind == callMissed {
		var b bytes.Buffer
		err := t.s.pages.ExecuteTemplate(&b, "callupdate", e.Time)
		return b.String(), err
	}
	if e.Message == nil {
		return t.head(ctx)
	}
	chat, err := t.s.api.Conversation(ctx, t.account, t.chat)
	if err != nil {
		return "", err
	}
	m := *e.Message
	if m.Reaction != nil {
		if m.RefersTo == nil {
			return "", nil
		}
		if m, err = t.s.api.ChatMessage(ctx, t.account, t.chat, m.RefersTo.ID); err != nil {
			return "", err
		}
	}
	row := t.s.rowOf(t.account, chat, m)
	row.OOB = "replace"
	if e.Message.Reaction == nil && m.Order > t.last {
		t.last, row.OOB = m.Order, "append"
	}
	var b bytes.Buffer
	err = t.s.pages.ExecuteTemplate(&b, "update", row)
	return b.String(), err
}

// head renders what is above the messages.
func (t *watcher) head(ctx context.Context) (string, error) {
	chat, err := t.s.api.Conversation(ctx, t.account, t.chat)
	if err != nil {
		return "", err
	}
	var b bytes.Buffer
	err = t.s.pages.ExecuteTemplate(&b, "headupdate", chatView{Account: t.account, Chat: chat})
	return b.String(), err
}

// change passes on what is true now and in no log: who is online, and the node's state.
func (t *watcher) change(ctx context.Context, c control.Change) error {
	if c.Kind != changes.Presence {
		return t.out.send(0, "node", c.Kind)
	}
	if c.Contact == t.chat {
		ctx, cancel := context.WithTimeout(ctx, askTime)
		defer cancel()
		if markup, err := t.head(ctx); err == nil && markup != "" {
			if err := t.out.send(0, "", markup); err != nil {
				return err
			}
		}
	}
	return t.out.send(0, "chats", c.Kind)
}
