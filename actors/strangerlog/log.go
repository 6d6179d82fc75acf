// SPDX-License-Identifier: MPL-2.0

// Package strangerlog writes log lines whose number a stranger decides: everything that a
// node or an identity causes that is not an accepted contact. It limits how many there
// are and counts the rest. Every package that serves connections from the overlay uses
// it; the node creates the one [Log] of a process. It imports the kernel only.
package strangerlog

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
	// burst lines may be written at once, afterwards one per interval. One event may
	// use half of that, so that a flood of one kind does not hide all others.
	burst    = 10
	interval = 2 * time.Second
	// maxEvents bounds the events with a limit of their own. Events are constant
	// texts, so it is never reached.
	maxEvents = 64
)

// Log writes log lines about strangers. A line over the limit is counted, and the next
// one has the count as "suppressed". It is safe for concurrent use.
type Log struct {
	log *slog.Logger

	mu         sync.Mutex
	all        *rate.Limiter
	byEvent    map[string]*rate.Limiter
	suppressed uint64
}

// New returns a Log that writes to another logger.
func New(log *slog.Logger) *Log {
	return &Log{
		log:     log,
		all:     rate.NewLimiter(rate.Every(interval), burst),
		byEvent: make(map[string]*rate.Limiter),
	}
}

// Info writes a line, or counts it. The event is a constant text, the rest as in slog.
func (l *Log) Info(event string, args ...any) { l.write(slog.LevelInfo, event, args) }

// Warn is [Log.Info] at another level.
func (l *Log) Warn(event string, args ...any) { l.write(slog.LevelWarn, event, args) }

// Error is [Log.Info] at another level.
func (l *Log) Error(event string, args ...any) { l.write(slog.LevelError, event, args) }

func (l *Log) write(level slog.Level, event string, args []any) {
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
func (l *Log) admit(event string, now time.Time) (suppressed uint64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.byEvent[event]
	if limit == nil && len(l.byEvent) < maxEvents {
		limit = rate.NewLimiter(rate.Every(2*interval), burst/2)
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
func (l *Log) Protect(part string, run func() error) error {
	err := kernel.Protect(run)
	if p, ok := errors.AsType[*kernel.PanicError](err); ok {
		l.Warn("panic while serving a connection", "task", part, "err", p, "stack", string(p.Stack))
	}
	return err
}

// Flush writes a line with how many lines were suppressed since the last one, if any were.
func (l *Log) Flush() {
	l.mu.Lock()
	suppressed := l.suppressed
	l.suppressed = 0
	l.mu.Unlock()
	if suppressed > 0 {
		l.log.Warn("suppressed log lines about strangers", "suppressed", suppressed)
	}
}
