// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/test/dendrite"
)

const (
	// buildTime is for compiling Dendrite on a slow machine.
	buildTime = 10 * time.Minute
	// takenUpAfter is a little more than the longest time after which Dendrite v0.15.2
	// goes on with what it was dealing with when it was killed (roomserver/internal/input).
	takenUpAfter = 5*time.Minute + 20*time.Second
)

// Bars R01, R02 with a real homeserver, both directions at once.
func TestKilledAgainstDendrite(t *testing.T) {
	t.Parallel()
	seed := drawSeed()
	w := newRealWorld(t)
	w.note = fmt.Sprintf("Dendrite, seed %d: ", seed)
	random := rand.New(rand.NewPCG(seed, 99)) //nolint:gosec // no secret
	end := w.load(directions...)
	for range max(2, *killsFlag/2) { // Dendrite takes its time to find the bridge again
		for _, d := range directions {
			w.progress(d, 1+random.IntN(window))
		}
		w.run(soonest + time.Duration(random.Int64N(int64(latest-soonest))))
		w.kill()
		w.must(w.victim.Launch())
		w.must(w.victim.Ready(w.soon()))
	}
	for _, d := range directions {
		w.progress(d, 1)
	}
	end()
	w.check(directions...)
}

// Bar R01: the node and Dendrite die at the same moment, again and again. What
// Dendrite has taken then, it has forgotten under which transaction, and lists only
// when it has dealt with it. In the long form only; the short one is in the tests
// of the bridge.
func TestKilledTogetherWithDendrite(t *testing.T) {
	t.Parallel()
	if *togetherFlag == 0 {
		return
	}
	seed := drawSeed()
	w := newRealWorld(t)
	w.note = fmt.Sprintf("together with Dendrite, seed %d: ", seed)
	random := rand.New(rand.NewPCG(seed, 98)) //nolint:gosec // no secret
	// Dendrite may push what the user writes in another order then.
	end := w.load(mimirToMatrix)
	for range *togetherFlag {
		w.progress(mimirToMatrix, 1+random.IntN(window))
		w.run(time.Duration(random.Int64N(int64(soonest))))
		w.killTogether()
		w.must(w.dendrite.Restart(w.soon()))
		w.must(w.victim.Launch())
		w.must(w.victim.Ready(w.soon()))
	}
	w.progress(mimirToMatrix, 1)
	end()
	w.settle()
	// What it had in its hands it takes up again by a clock of its own, or only when
	// something new comes into the room. The bridge takes back what is there twice then.
	w.run(takenUpAfter)
	w.say(1, directions...)
	w.settle()
	poll(nil, func() bool { return w.verdict(mimirToMatrix).OK() }) // check says if it never is
	w.check(mimirToMatrix)
}

// killTogether kills the node and Dendrite at once.
func (w *world) killTogether() {
	w.t.Helper()
	var ended sync.WaitGroup
	ended.Go(func() { w.must(w.dendrite.Kill()) })
	w.kill()
	ended.Wait()
}

// startDendrite starts a real homeserver. The first time on a machine it is
// compiled.
func (w *world) startDendrite(address, registration string) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), buildTime)
	defer cancel()
	server, err := dendrite.Start(ctx, dendrite.Options{
		Dir: filepath.Join(w.dir, "dendrite"), Address: w.freeAddress(), ServerName: serverName, Registrations: []string{registration},
	})
	w.must(err)
	w.t.Cleanup(func() { w.must(server.Kill()) })
	w.must(server.CreateUser(w.soon(), userName, password, false))
	w.dendrite, w.server = server, server.URL()

	f := &finisher{upstream: strings.TrimPrefix(w.server, "http://")}
	proxy := &http.Server{ReadHeaderTimeout: patience, Handler: f}
	listener, err := new(net.ListenConfig).Listen(w.t.Context(), "tcp", address)
	w.must(err)
	var serving sync.WaitGroup
	serving.Go(func() { _ = proxy.Serve(listener) }) // ends with Shutdown
	w.t.Cleanup(func() {
		ending, cancel := context.WithTimeout(context.WithoutCancel(w.t.Context()), patience)
		defer cancel()
		w.must(proxy.Shutdown(ending))
		serving.Wait()
		f.transport.CloseIdleConnections()
	})
}

// finisher is a proxy that finishes what it has begun. The node talks to Dendrite
// through it: Dendrite v0.15.2 may keep its SQLite tables locked, and answer 500 to
// everything, when somebody goes away in the middle of a request.
type finisher struct {
	upstream  string
	transport http.Transport
}

func (f *finisher) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil { // it has never been a whole request
		return
	}
	out := r.Clone(context.WithoutCancel(r.Context()))
	out.RequestURI, out.URL.Scheme, out.URL.Host = "", "http", f.upstream
	out.Body = io.NopCloser(bytes.NewReader(body))
	resp, err := f.transport.RoundTrip(out)
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer func() { _ = resp.Body.Close() }()
	maps.Copy(w.Header(), resp.Header)
	w.WriteHeader(resp.StatusCode)
	_, _ = io.Copy(w, resp.Body) // the client may be gone
}
