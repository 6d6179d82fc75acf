// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// MaxLanes bounds how many lanes have a goroutine. It is more than the deliverer's
	// deliveries: a delivery to a slow room keeps the lane of that room waiting in the
	// library.
	MaxLanes = 320
	// laneTurn is after how many tasks a lane yields to others.
	laneTurn = 16
)

// lanes runs tasks: those of one lane in order, one at a time, and the lanes beside each
// other. A lane whose first task waits, for its next attempt or for something slow, has no
// goroutine meanwhile, so that no number of such lanes delays the others. It is safe for
// use by many goroutines.
type lanes[T any] struct {
	// run makes an attempt at a task; failures is how many have failed. It must not
	// panic.
	run func(task T, failures int) laneResult

	mu      sync.Mutex
	known   map[string]*lane[T]
	ready   []*lane[T] // have a task to run, in this order
	running int        // lanes with a goroutine
	closed  bool
	work    sync.WaitGroup
}

// lane is a lane that has tasks.
type lane[T any] struct {
	name  string
	tasks []T // the first is the one that is run

	// Of the first task.
	failures int
	err      error     // of the last attempt
	since    time.Time // when it was run first
	timer    *time.Timer
}

// laneResult is the outcome of an attempt at a task. The zero value means that the task
// is done.
type laneResult struct {
	err        error             // why it has to be repeated; nil when it is done
	after      time.Duration     // how long to wait before that
	background func() laneResult // continues the task, in a goroutine of its own
	cut        bool              // the lanes are being closed, and the task may not be done
}

func newLanes[T any](run func(task T, failures int) laneResult) *lanes[T] {
	return &lanes[T]{run: run, known: make(map[string]*lane[T])}
}

// add puts a task at the end of a lane.
func (l *lanes[T]) add(name string, task T) { l.addAfter(name, task, 0) }

// addAfter is add; a lane that had no task begins only after the pause.
func (l *lanes[T]) addAfter(name string, task T, pause time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	at := l.known[name]
	if at != nil {
		at.tasks = append(at.tasks, task)
		return
	}
	at = &lane[T]{name: name, tasks: []T{task}, since: time.Now()}
	l.known[name] = at
	if pause > 0 {
		l.wait(at, pause)
		return
	}
	l.makeReady(at)
}

// offer is add for a task that may be lost: a lane with limit tasks drops it.
func (l *lanes[T]) offer(name string, task T, limit int) {
	l.mu.Lock()
	at := l.known[name]
	full := at != nil && len(at.tasks) >= limit
	l.mu.Unlock()
	if !full {
		l.add(name, task)
	}
}

// close starts no further task, and returns when none runs, or when limit is closed: a
// task that runs then ends with what it uses.
func (l *lanes[T]) close(limit <-chan struct{}) {
	l.mu.Lock()
	l.closed = true
	for _, at := range l.known {
		if at.timer != nil {
			at.timer.Stop()
		}
	}
	l.mu.Unlock()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		l.work.Wait()
	}()
	select {
	case <-ended:
	case <-limit:
	}
}

// makeReady is called under mu.
func (l *lanes[T]) makeReady(at *lane[T]) {
	l.ready = append(l.ready, at)
	l.start()
}

// start gives goroutines to lanes. It is called under mu.
func (l *lanes[T]) start() {
	for !l.closed && len(l.ready) > 0 && l.running < MaxLanes {
		at := l.ready[0]
		l.ready = l.ready[1:]
		l.running++
		l.work.Go(func() { l.runLane(at) })
	}
}

// wait is called under mu.
func (l *lanes[T]) wait(at *lane[T], pause time.Duration) {
	at.timer = time.AfterFunc(pause, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		at.timer = nil
		l.makeReady(at)
	})
}

// runLane runs tasks of a lane until one has to wait, or the turn of the lane is over.
func (l *lanes[T]) runLane(at *lane[T]) {
	for range laneTurn {
		l.mu.Lock()
		task, failures := at.tasks[0], at.failures
		l.mu.Unlock()
		if !l.settle(at, l.run(task, failures), true) {
			return
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	l.makeReady(at)
}

// settle notes the outcome of the first task of a lane, and reports whether the lane's own
// goroutine can run the next one at once.
func (l *lanes[T]) settle(at *lane[T], result laneResult, own bool) (next bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	done := result.err == nil && result.background == nil && !result.cut
	if done {
		var none T
		at.tasks[0] = none
		at.tasks = at.tasks[1:]
		at.failures, at.err, at.since = 0, nil, time.Now()
		if len(at.tasks) > 0 && own && !l.closed {
			return true
		}
	}
	if own {
		l.running--
	}
	defer l.start()
	switch {
	case l.closed:
	case done && len(at.tasks) == 0:
		delete(l.known, at.name)
	case done:
		l.makeReady(at)
	case result.background != nil:
		l.work.Go(func() { l.settle(at, result.background(), false) })
	case result.err != nil:
		at.failures++
		at.err = result.err
		l.wait(at, result.after)
	}
	return false
}

// laneState describes a lane whose first task takes long.
type laneState struct {
	name  string
	tasks int
	since time.Time // when its first task was run first
	err   error     // of the last attempt; nil while it is the first
}

// stuck returns the lanes whose first task is older than after, the oldest first, and the
// number of tasks in all lanes.
func (l *lanes[T]) stuck(after time.Duration) (found []laneState, tasks int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, at := range l.known {
		tasks += len(at.tasks)
		if time.Since(at.since) >= after {
			found = append(found, laneState{at.name, len(at.tasks), at.since, at.err})
		}
	}
	slices.SortFunc(found, func(a, b laneState) int {
		if c := a.since.Compare(b.since); c != 0 {
			return c
		}
		return strings.Compare(a.name, b.name)
	})
	return found, tasks
}
