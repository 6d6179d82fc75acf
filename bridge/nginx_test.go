// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/transfer"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/nginx"
	"github.com/mimird/mimird/test/process"
)

// maxProxiedEvent is the largest event that the proxies of these tests let through.
const maxProxiedEvent = 8 << 10

// gate passes connections on to a homeserver, and can be shut: then nobody listens.
type gate struct {
	t        *testing.T
	address  string
	upstream string

	mu       sync.Mutex
	listener net.Listener
	open     map[net.Conn]bool
	proxied  sync.WaitGroup
}

func newGate(t *testing.T, upstream string) *gate {
	t.Helper()
	address, err := process.FreeAddress(t.Context()) // it is used again after shut
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{t: t, upstream: strings.TrimPrefix(upstream, "http://"), address: address, open: make(map[net.Conn]bool)}
	g.start()
	t.Cleanup(g.shut)
	return g
}

func (g *gate) start() {
	g.t.Helper()
	listener, err := net.Listen("tcp", g.address)
	if err != nil {
		g.t.Fatal(err)
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	g.listener, g.address = listener, listener.Addr().String()
	g.proxied.Go(func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			g.proxied.Go(func() { g.pass(in) })
		}
	})
}

func (g *gate) pass(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", g.upstream)
	if err != nil {
		return
	}
	defer out.Close()
	g.mu.Lock()
	g.open[in] = true
	g.mu.Unlock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = io.Copy(out, in)
		_ = out.Close()
	}()
	_, _ = io.Copy(in, out)
	_ = in.Close()
	<-done
	g.mu.Lock()
	delete(g.open, in)
	g.mu.Unlock()
}

// shut ends the listener and all connections.
func (g *gate) shut() {
	g.mu.Lock()
	_ = g.listener.Close()
	for connection := range g.open {
		_ = connection.Close()
	}
	g.mu.Unlock()
	g.proxied.Wait()
}

// proxyLike answers as nginx does with its defaults, only sooner. It stands in for it
// in quick tests.
func proxyLike(t *testing.T, upstream string) string {
	t.Helper()
	target, err := url.Parse("http://" + upstream)
	if err != nil {
		t.Fatal(err)
	}
	answer := func(w http.ResponseWriter, status int) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(status)
		fmt.Fprintf(w, "<html>\r\n<head><title>%d %s</title></head>\r\n<body>\r\n<center><h1>%[1]d %[2]s</h1></center>\r\n<hr><center>nginx</center>\r\n",
			status, http.StatusText(status))
	}
	transport := &http.Transport{ResponseHeaderTimeout: time.Second}
	t.Cleanup(transport.CloseIdleConnections)
	proxy := &httputil.ReverseProxy{
		Rewrite:   func(r *httputil.ProxyRequest) { r.SetURL(target) },
		Transport: transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, err error) {
			var timeout net.Error
			if errors.As(err, &timeout) && timeout.Timeout() {
				answer(w, http.StatusGatewayTimeout)
				return
			}
			answer(w, http.StatusBadGateway)
		},
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		limit := int64(1 << 20)
		if strings.Contains(r.URL.Path, "/send/m.room.message/") {
			limit = maxProxiedEvent
		}
		switch {
		case len(r.RequestURI) > 8<<10:
			answer(w, http.StatusRequestURITooLong)
		case r.ContentLength > limit:
			answer(w, http.StatusRequestEntityTooLarge)
		default:
			proxy.ServeHTTP(w, r)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// TestBehindNginx is about what a proxy answers by itself. With -all it is a real
// nginx, with its defaults.
func TestBehindNginx(t *testing.T) {
	var shut, start func()
	f := newFixtureBehind(t, func(upstream string) string {
		g := newGate(t, upstream)
		shut, start = g.shut, g.start
		if !*all {
			return proxyLike(t, g.address)
		}
		proxy, err := nginx.Start(soon(t), nginx.Options{Root: "..", Dir: t.TempDir(), Upstream: g.address, MaxEvent: "8k"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(proxy.Stop)
		return proxy.URL()
	})
	bob, room := f.conversation("Bob")
	carol, other := f.conversation("Carol")
	both := func(after string) {
		t.Helper()
		f.node.receive(f.account, bob, after)
		f.node.receive(f.account, carol, after)
		for _, r := range []id.RoomID{room, other} {
			f.await("the next message is shown", func() bool { return slices.Contains(f.shown(r), after) })
		}
	}
	noticed := func(status string) {
		t.Helper()
		if !slices.ContainsFunc(f.shown(room), func(text string) bool { return strings.Contains(text, "answers "+status) }) {
			t.Errorf("no notice of %s: %q", status, f.shown(room))
		}
	}

	f.node.receive(f.account, bob, strings.Repeat("long ", 4<<10)) // in one event
	both("after the text")
	noticed("413")

	file := f.node.offer(f.account, bob, transfer.Info{Name: "large.bin", MIMEType: "application/octet-stream"})
	f.node.arrive(file, store.MediaStored, bytes.Repeat([]byte("large"), 1<<20/4))
	both("after the file")
	if shown := f.shown(room); !slices.ContainsFunc(shown, func(text string) bool {
		return strings.Contains(text, "large.bin") && strings.Contains(text, "answers 413")
	}) {
		t.Errorf("no notice of the file: %q", shown)
	}

	f.homeserver.LongEventIDs("m.reaction", 9<<10)
	react := func(emoji string) {
		t.Helper()
		f.node.accept(store.AcceptMessage{
			Account: f.account, Conversation: store.ContactConversation(bob), Type: int32(peer.TypeReaction),
			Payload: peer.Reaction{Target: peer.GUID(f.firstOf(bob).GUID), Emoji: emoji}.AppendTo(nil),
		})
	}
	react("👍")
	f.await("the reaction is shown", func() bool {
		return slices.ContainsFunc(f.homeserver.Timeline(room), func(e bridgetest.Event) bool { return e.Type == "m.reaction" })
	})
	react("")
	both("after the reaction")
	noticed("414")

	shut()
	f.node.receive(f.account, bob, "while it is stopped")
	f.await("the proxy says that it is", func() bool {
		return slices.ContainsFunc(f.failing(), func(w bridge.Waiting) bool { return strings.Contains(w.Error, "502") })
	})
	start()
	both("after the stop")
	if !slices.Contains(f.shown(room), "while it is stopped") {
		t.Errorf("a message of the stop is lost: %q", f.shown(room))
	}

	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultHang, Only: func(r *http.Request) bool {
		return strings.HasSuffix(r.URL.Path, "/upload")
	}})
	file = f.node.offer(f.account, bob, transfer.Info{Name: "small.txt", MIMEType: "text/plain"})
	f.node.arrive(file, store.MediaStored, []byte("small"))
	f.await("the proxy says that the homeserver is stalled", func() bool {
		return slices.ContainsFunc(f.failing(), func(w bridge.Waiting) bool { return strings.Contains(w.Error, "504") })
	})
	f.homeserver.SetFault(bridgetest.Fault{})
	both("after the stall")
	if !slices.Contains(f.shown(room), "small.txt") {
		t.Errorf("the file of the stall is lost: %q", f.shown(room))
	}
}

// firstOf is the oldest message of a contact.
func (f *fixture) firstOf(contact identity.PublicKey) store.MessageID {
	f.t.Helper()
	page, err := f.node.Messages(f.account, contact, 0, 100)
	if err != nil || len(page) == 0 {
		f.t.Fatal("no message", err)
	}
	return page[len(page)-1].ID
}
