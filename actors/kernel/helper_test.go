// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/test/virtual"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// soon is how long a test waits for what must happen, in virtual time mostly.
const soon = 10 * time.Second

var errTest = errors.New("test failure")

// quick is a back-off for tests that do not look at it.
var quick = kernel.Backoff{Min: time.Millisecond, Max: time.Millisecond, Forever: true}

// funcs is an actor made of functions, all optional.
type funcs struct {
	started  func(c *kernel.Context) error
	receive  func(c *kernel.Context, msg any)
	stopping func(c *kernel.Context)
}

func (f *funcs) Started(c *kernel.Context) error {
	if f.started == nil {
		return nil
	}
	return f.started(c)
}

func (f *funcs) Receive(c *kernel.Context, msg any) {
	if f.receive != nil {
		f.receive(c, msg)
	}
}

func (f *funcs) Stopping(c *kernel.Context) {
	if f.stopping != nil {
		f.stopping(c)
	}
}

func spec(name string, f funcs) kernel.Spec {
	return kernel.Spec{Name: name, Kind: "test", Backoff: quick, New: func() kernel.Actor { return &f }}
}

// record is what happened, in order, written by actors and read by the test.
type record struct {
	mu   sync.Mutex
	list []string
}

func (r *record) add(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, fmt.Sprintf(format, args...))
}

func (r *record) all() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

func (r *record) count(what string) int {
	n := 0
	for _, s := range r.all() {
		if s == what {
			n++
		}
	}
	return n
}

func (r *record) expect(t *testing.T, want ...string) {
	t.Helper()
	if got := r.all(); !slices.Equal(got, want) {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " | "), strings.Join(want, " | "))
	}
}

// recording is an actor that records its life; boom makes it panic.
func recording(name string, r *record) kernel.Spec {
	return spec(name, funcs{
		started: func(*kernel.Context) error { r.add("started"); return nil },
		receive: func(_ *kernel.Context, msg any) {
			if msg == "boom" {
				panic("boom")
			}
			r.add("%v", msg)
		},
		stopping: func(*kernel.Context) { r.add("stopping") },
	})
}

// onStage runs a test in virtual time with a system of its own.
func onStage(t *testing.T, test func(t *testing.T, stage *kerneltest.Stage)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, kerneltest.NewStage(t, kernel.Options{}))
	})
}

// pass lets virtual time go by and then everything come to rest.
func pass(d time.Duration) {
	virtual.Sleep(d)
	synctest.Wait()
}

func expectStopped(t *testing.T, stage *kerneltest.Stage, name string) error {
	t.Helper()
	got := kerneltest.Await[kernel.ChildStopped](t, stage.Probe, soon)
	if got.Name != name || got.Kind == "" || got.Child.IsZero() {
		t.Fatalf("got %+v, want the end of %q", got, name)
	}
	return got.Err
}

func ask[R any](t *testing.T, to kernel.Ref, msg any) R {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	r, err := kernel.Ask[R](ctx, to, msg)
	if err != nil {
		t.Fatalf("ask: %v", err)
	}
	return r
}

// logBuffer is a logger's output to be looked at.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(b, &slog.HandlerOptions{Level: level}))
}

func (b *logBuffer) lines() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Collect(strings.Lines(b.buf.String()))
}

func (b *logBuffer) count(what string) int {
	n := 0
	for _, line := range b.lines() {
		if strings.Contains(line, what) {
			n++
		}
	}
	return n
}

func statsOf(t *testing.T, s *kernel.System, kind string) kernel.ActorStats {
	t.Helper()
	for _, st := range s.Stats() {
		if st.Kind == kind {
			return st
		}
	}
	t.Fatalf("no statistics for %q", kind)
	return kernel.ActorStats{}
}

var discard = slog.New(slog.DiscardHandler)
