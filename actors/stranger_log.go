// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/mimird/mimird/actors/kernel"
)

const (
	// strangerLogBurst lines about strangers may be written at once, afterwards one
	// in strangerLogEvery. One event may use half of that, so that a flood of one
	// kind does not hide all others.
	strangerLogBurst = 10
	strangerLogEvery = 2 * time.Second
	// maxStrangerEvents bounds the events with a limit of their own. Events are
	// constant texts, so it is never reached.
	maxStrangerEvents = 64
)

// strangerLog writes log lines whose number a stranger decides: everything that is
// caused by a node or identity that is not an accepted contact goes through it. What
// is over the limit is counted, and the next line has the count. It is safe for
// concurrent use.
type strangerLog struct {
	log *slog.Logger

	mu         sync.Mutex
	all        *rate.Limiter
	byEvent    map[string]*rate.Limiter
	suppressed uint64
}

func newStrangerLog(log *slog.Logger) *strangerLog {
	return &strangerLog{
		log:     log,
		all:     rate.NewLimiter(rate.Every(strangerLogEvery), strangerLogBurst),
		byEvent: make(map[string]*rate.Limiter),
	}
}

// Info, Warn and Error write a line, or count it. The event is a constant text, the
// rest as in slog.
func (l *strangerLog) Info(event string, args ...any)  { l.write(slog.LevelInfo, event, args) }
func (l *strangerLog) Warn(event string, args ...any)  { l.write(slog.LevelWarn, event, args) }
func (l *strangerLog) Error(event string, args ...any) { l.write(slog.LevelError, event, args) }

func (l *strangerLog) write(level slog.Level, event string, args []any) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, level) {
		return
	}
	count, ok := l.admit(event, time.Now())
	if !ok {
		return
	}
	if count > 0 {
		args = append(args[:len(args):len(args)], "suppressed", count)
	}
	l.log.Log(ctx, level, event, args...)
}

// admit reports whether a line may be written, and how many were suppressed before
// it.
func (l *strangerLog) admit(event string, now time.Time) (suppressed uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.byEvent[event]
	if limit == nil && len(l.byEvent) < maxStrangerEvents {
		limit = rate.NewLimiter(rate.Every(2*strangerLogEvery), strangerLogBurst/2)
		l.byEvent[event] = limit
	}
	if limit == nil || !limit.AllowN(now, 1) || !l.all.AllowN(now, 1) {
		l.suppressed++
		return 0, false
	}
	suppressed, l.suppressed = l.suppressed, 0
	return suppressed, true
}

// Protect runs the part of a task that serves one connection or asks one server, which
// it names in the log. A panic in it is logged and returned as an error, a
// *kernel.PanicError: it ends that connection, and neither the others nor the process.
// Strangers can reach most of this code.
func (l *strangerLog) Protect(part string, run func() error) error {
	err := kernel.Protect(run)
	if p, ok := errors.AsType[*kernel.PanicError](err); ok {
		l.Warn("panic while serving a connection", "part", part, "err", p, "stack", string(p.Stack))
	}
	return err
}

// flush writes how many lines were suppressed since the last one, if any were.
func (l *strangerLog) flush() {
	l.mu.Lock()
	suppressed := l.suppressed
	l.suppressed = 0
	l.mu.Unlock()
	if suppressed > 0 {
		l.log.Warn("suppressed log lines about strangers", "suppressed", suppressed)
	}
}
