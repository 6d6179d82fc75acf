// SPDX-License-Identifier: MPL-2.0

// Package schedule makes backups by itself: it has one written to a target when it is
// time, reads it back, and removes those that are older than is wanted. A backup counts
// when it was read back whole, and nothing is removed before one has. What it has done is
// in a small file in the data directory, so that a restart neither forgets it nor makes
// another backup.
//
// It is an actor, a part of the node, that the program builds ([New]): what is in a backup
// and how it is encrypted comes from there, as functions. Start reading at [Deps].
package schedule

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/backup/target"
	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/actors/kernel"
)

const (
	// PartName is the name of the actor among the parts of a node.
	PartName = "backups"
	// StateFile is in the data directory. It is not in backups.
	StateFile = "backups.json"
	// look is how often the clock is looked at, which may jump.
	look = 10 * time.Minute
	// stallTime ends an attempt in which no byte has moved.
	stallTime = 30 * time.Minute
	// maxError bounds what is kept of an error.
	maxError = 1024
)

// retry is how long to wait after failures in a row. There is no last one: the age of the
// last good backup is where people see it.
var retry = kernel.Backoff{Min: 5 * time.Minute, Max: 6 * time.Hour}

// startDelay keeps a backup from slowing down the start of the node.
var startDelay = time.Minute

// SetStartDelayForTest makes the first attempt begin earlier. It panics outside of a test.
func SetStartDelayForTest(d time.Duration) {
	if !testing.Testing() {
		panic("schedule: the delay is a constant outside of tests")
	}
	startDelay = d
}

// errStalled means that a target has taken or given nothing for stallTime.
var errStalled = fmt.Errorf("no byte has moved for %v", stallTime)

// Deps is what the schedule uses.
type Deps struct {
	// Dir is the data directory.
	Dir string
	// Node tells the backups of this node apart, in their names: some letters and digits.
	Node string
	// Where is the target as people see it.
	Where string
	// Every is how often there is a backup, TooOld the age of the last good one at which
	// somebody should know.
	Every, TooOld time.Duration
	Keep          Keep
	// Open connects to the target.
	Open func(context.Context) (target.Target, error)
	// Write writes a backup and returns what is not in it, a phrase each.
	Write func(context.Context, io.Writer) (left []string, err error)
	// Verify reads a backup and fails unless it is whole.
	Verify func(context.Context, io.Reader) error
	// Now is the wall clock.
	Now func() time.Time
}

// Made is a good backup.
type Made struct {
	Name  string    `json:"name"`
	Time  time.Time `json:"time" doc:"When it was begun: it has everything from before"`
	Bytes int64     `json:"bytes"`
	// Left are things of the node that are not in it.
	Left []string `json:"left_out,omitempty"`
}

// state is what is in the file.
type state struct {
	Target string `json:"target"`
	// Since is when the schedule began to use this target.
	Since time.Time `json:"since"`
	Good  *Made     `json:"last_good,omitempty"`
	Kept  int       `json:"kept"`
	// Tried is when the last attempt ended; Failures counts those since the last good one.
	Tried    time.Time `json:"tried,omitzero"`
	Failures int       `json:"failures,omitempty"`
	Error    string    `json:"error,omitempty"`
	// Unremoved is why old backups are still there.
	Unremoved string `json:"unremoved,omitempty"`
	// Trying is written but not read back: an attempt is under way, or has ended without
	// having removed it.
	Trying string `json:"trying,omitempty"`
}

// Status is how the backups are.
type Status struct {
	Target string `json:"target"`
	// LastGood is the last backup that was read back whole.
	LastGood *Made `json:"last_good,omitempty"`
	Kept     int   `json:"kept" doc:"Backups of this node at the target"`
	// Running is when the attempt that is under way has begun.
	Running  time.Time `json:"running_since,omitzero"`
	Tried    time.Time `json:"last_attempt,omitzero"`
	Failures int       `json:"failures,omitempty" doc:"Attempts that failed since the last good backup"`
	Error    string    `json:"error,omitempty" doc:"Why the last one failed"`
	// Unremoved is why backups that are not wanted any more are still there.
	Unremoved string    `json:"unremoved,omitempty"`
	Next      time.Time `json:"next_attempt,omitzero"`
	// TooOld says that the last good backup is older than the configuration allows, or
	// that there is none after that time.
	TooOld bool      `json:"too_old"`
	Since  time.Time `json:"since" doc:"When the node began to use this target"`
}

// StatusRequest asks the actor for its [Status].
type StatusRequest struct{}

// MakeNow asks the actor to make a backup without waiting for its time. The reply is whether one
// is begun with it, and not under way already.
type MakeNow struct{}

// ParseStatus reads a status that was written as JSON, nil when it is none.
func ParseStatus(raw json.RawMessage) *Status {
	var s Status
	if len(raw) == 0 || json.Unmarshal(raw, &s) != nil || s.Target == "" {
		return nil
	}
	return &s
}

// Problem returns what a person should do something about, as a sentence; "" is nothing.
func (s Status) Problem() string {
	switch {
	case s.TooOld && s.LastGood == nil:
		return fmt.Sprintf("There is no good backup at %s since %s%s.", s.Target, s.Since.Local().Format(time.DateTime), because(s.Error))
	case s.TooOld:
		return fmt.Sprintf("The last good backup at %s is of %s%s.", s.Target, s.LastGood.Time.Local().Format(time.DateTime), because(s.Error))
	case s.Unremoved != "":
		return fmt.Sprintf("Old backups at %s cannot be removed: %s.", s.Target, s.Unremoved)
	}
	return ""
}

func because(err string) string {
	if err == "" {
		return ""
	}
	return "; the last attempt failed: " + err
}

// Actor makes the backups.
type Actor struct {
	deps  Deps
	state state
	// running is when the attempt under way was begun, zero without one.
	running time.Time
	// earliest is when the first attempt of this process may begin.
	earliest time.Time
	// last is the number of the last tick; those before do not count any more.
	last int
}

type (
	// tick is the actor's own: is it time?
	tick struct{ number int }
	// ended is its goroutine's: the attempt is over, and this is what the file has now.
	ended struct {
		state state
		err   error // of the file
	}
)

// New returns an actor for the supervision tree.
func New(deps Deps) *Actor { return &Actor{deps: deps} }

// Started implements kernel.Starter.
func (a *Actor) Started(c *kernel.Context) error {
	var err error
	if a.state, err = load(a.deps.Dir); err != nil {
		c.Log().Warn("record of backups cannot be read, making one", "err", err)
	}
	if a.state.Target != a.deps.Where {
		a.state = state{Target: a.deps.Where, Since: a.deps.Now()}
	}
	a.earliest = a.deps.Now().Add(startDelay)
	a.tickAfter(c, max(startDelay, a.wait()))
	return nil
}

// tickAfter looks at the clock after a while, in place of the tick before.
func (a *Actor) tickAfter(c *kernel.Context, wait time.Duration) {
	a.last++
	c.After(wait, tick{a.last})
}

// Receive implements kernel.Actor.
func (a *Actor) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case tick:
		if msg.number == a.last {
			a.onTick(c)
		}
	case ended:
		a.onEnded(c, msg)
	case kernel.TaskDone:
		a.onTaskDone(c, msg)
	case StatusRequest:
		c.Reply(a.status())
	case MakeNow:
		idle := a.running.IsZero()
		if idle {
			a.begin(c)
		}
		c.Reply(idle)
	}
}

func (a *Actor) onTick(c *kernel.Context) {
	if wait := a.wait(); wait > 0 {
		a.tickAfter(c, wait)
		return
	}
	a.begin(c)
}

// begin begins an attempt; the next tick comes when it has ended.
func (a *Actor) begin(c *kernel.Context) {
	a.last++
	a.running = a.deps.Now()
	r := run{deps: a.deps, state: a.state, begun: a.running}
	inbox := c.Inbox()
	c.Go("backup", func(ctx context.Context) error {
		after := r.do(ctx)
		if ctx.Err() == nil { // an attempt that the stop of the node has ended is none
			inbox.Tell(ended{after, save(a.deps.Dir, after)})
		}
		return nil
	})
}

func (a *Actor) onEnded(c *kernel.Context, msg ended) {
	a.state = msg.state
	log := c.Log()
	if msg.err != nil {
		log.Warn("record of backups not written", "err", msg.err)
	}
	if a.state.Failures > 0 {
		log.Error("backup failed", "err", errors.New(a.state.Error), "failures", a.state.Failures, "retry_in", a.until())
	} else {
		log.Info("backup made and read back", "bytes", a.state.Good.Bytes, "count", a.state.Kept, "took", a.state.Tried.Sub(a.running))
	}
	if a.state.Unremoved != "" {
		log.Warn("old backups not removed", "err", errors.New(a.state.Unremoved))
	}
}

// onTaskDone is told after the goroutine has ended, also by a panic.
func (a *Actor) onTaskDone(c *kernel.Context, msg kernel.TaskDone) {
	a.running = time.Time{}
	if msg.Err != nil {
		a.state.Tried = a.deps.Now()
		a.state.Failures++
		a.state.Error = clip(msg.Err)
		c.Log().Error("backup failed", "err", msg.Err, "failures", a.state.Failures, "retry_in", a.until())
	}
	a.tickAfter(c, max(time.Second, a.wait()))
}

// until is how long it is until the next attempt.
func (a *Actor) until() time.Duration { return a.due().Sub(a.deps.Now()) }

// wait is how long not to look at the clock.
func (a *Actor) wait() time.Duration { return min(look, a.until()) }

// due is when the next attempt is to begin. What lies in the future, because the clock was
// wrong, is not waited for.
func (a *Actor) due() time.Time {
	now := a.deps.Now()
	from, pause := a.state.Since, time.Duration(0)
	switch {
	case a.state.Failures > 0:
		from, pause = a.state.Tried, min(retry.Step(a.state.Failures-1), a.deps.Every)
	case a.state.Good != nil:
		from, pause = a.state.Good.Time, a.deps.Every
	}
	if from.After(now) {
		return now
	}
	return from.Add(pause)
}

func (a *Actor) status() Status {
	s := Status{
		Target: a.state.Target, LastGood: a.state.Good, Kept: a.state.Kept, Running: a.running, Tried: a.state.Tried, Failures: a.state.Failures,
		Error: a.state.Error, Unremoved: a.state.Unremoved, Since: a.state.Since,
	}
	if a.running.IsZero() {
		if s.Next = a.due(); s.Next.Before(a.earliest) {
			s.Next = a.earliest
		}
	}
	last := a.state.Since
	if a.state.Good != nil {
		last = a.state.Good.Time
	}
	s.TooOld = a.deps.Now().Sub(last) > a.deps.TooOld
	return s
}

// run is one attempt.
type run struct {
	deps  Deps
	state state
	begun time.Time
}

// do makes a backup and returns what there is to record.
func (r *run) do(ctx context.Context) state {
	after := r.state
	good, err := r.attempt(ctx, &after)
	after.Tried = r.deps.Now()
	if err != nil {
		after.Failures++
		after.Error = clip(err)
		return after
	}
	after.Good, after.Failures, after.Error = &good, 0, ""
	return after
}

func clip(err error) string {
	text := err.Error()
	return text[:min(len(text), maxError)]
}

// attempt writes a backup, reads it back and removes old ones. A backup that is not what
// was written is removed.
func (r *run) attempt(ctx context.Context, after *state) (_ Made, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	alive := time.AfterFunc(stallTime, func() { cancel(errStalled) })
	defer alive.Stop()
	defer func() {
		if cause := context.Cause(ctx); err != nil && errors.Is(cause, errStalled) {
			err = fmt.Errorf("%w: %w", cause, err)
		}
	}()
	to, err := r.deps.Open(ctx)
	if err != nil {
		return Made{}, err
	}
	defer func() { err = errors.Join(err, to.Close()) }()
	if err := to.Sweep(prefixOf(r.deps.Node)); err != nil {
		return Made{}, err
	}
	if err := r.forget(to, after); err != nil {
		return Made{}, err
	}
	made := Made{Name: nameOf(r.deps.Node, r.begun), Time: r.begun}
	after.Trying = made.Name
	if err := save(r.deps.Dir, *after); err != nil {
		return Made{}, fmt.Errorf("record of backups: %w", err)
	}
	err = to.Create(made.Name, func(w io.Writer) error {
		counter := &counter{Writer: w, alive: alive}
		made.Left, err = r.deps.Write(ctx, counter)
		made.Bytes = counter.n
		return err
	})
	if err != nil {
		return Made{}, fmt.Errorf("write backup: %w", err)
	}
	if err := r.readBack(ctx, to, made.Name, alive); err != nil {
		err = fmt.Errorf("read backup back: %w", err)
		if forgetErr := r.forget(to, after); forgetErr != nil {
			err = errors.Join(err, forgetErr) // the next attempt does it
		}
		return Made{}, err
	}
	after.Trying = ""
	kept, err := r.rotate(to)
	after.Unremoved = ""
	if err != nil {
		after.Unremoved = clip(err)
	}
	after.Kept = kept
	return made, nil
}

// forget removes the backup that was written and never read back: it must not be taken for
// a good one when old ones are counted.
func (r *run) forget(at target.Target, after *state) error {
	if after.Trying == "" {
		return nil
	}
	entries, err := at.List()
	if err != nil {
		return err
	}
	if slices.ContainsFunc(entries, func(e target.Entry) bool { return e.Name == after.Trying }) {
		if err := at.Remove(after.Trying); err != nil {
			return fmt.Errorf("remove unverified backup: %w", err)
		}
	}
	after.Trying = ""
	return nil
}

func (r *run) readBack(ctx context.Context, from target.Target, name string, alive *time.Timer) error {
	file, err := from.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(r.deps.Verify(ctx, &reading{file, alive}), file.Close())
}

// rotate removes what does not stay, and returns how many do.
func (r *run) rotate(at target.Target) (kept int, err error) {
	entries, err := at.List()
	if err != nil {
		return r.state.Kept, err
	}
	var names []string
	for _, e := range entries {
		if _, ours := madeAt(r.deps.Node, e.Name); ours {
			names = append(names, e.Name)
		}
	}
	old := expired(r.deps.Node, names, r.deps.Keep, r.begun)
	kept = len(names)
	for _, name := range old {
		if removeErr := at.Remove(name); removeErr != nil {
			err = errors.Join(err, removeErr)
			continue
		}
		kept--
	}
	return kept, err
}

// counter counts what is written, and says that bytes move.
type counter struct {
	io.Writer
	n     int64
	alive *time.Timer
}

func (w *counter) Write(p []byte) (int, error) {
	n, err := w.Writer.Write(p)
	w.n += int64(n)
	w.alive.Reset(stallTime)
	return n, err
}

// reading says that bytes move.
type reading struct {
	io.Reader
	alive *time.Timer
}

func (r *reading) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	r.alive.Reset(stallTime)
	return n, err
}

// load reads the record; without a file it is empty.
func load(dir string) (state, error) {
	raw, err := os.ReadFile(filepath.Join(dir, StateFile))
	if errors.Is(err, fs.ErrNotExist) {
		return state{}, nil
	}
	if err != nil {
		return state{}, err
	}
	var s state
	if err := json.Unmarshal(raw, &s); err != nil {
		return state{}, err
	}
	return s, nil
}

func save(dir string, s state) error {
	raw, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return durable.Replace(filepath.Join(dir, StateFile), append(raw, '\n'))
}
