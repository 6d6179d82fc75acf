// SPDX-License-Identifier: MPL-2.0

package overlay

import "sync"

// scheduler runs what has work to do on a fixed number of goroutines. A task
// waits in its queue at most once, so the queue is as short as there are
// tasks, and adding to it never blocks.
type scheduler struct {
	mu      sync.Mutex
	cond    sync.Cond
	queue   ring[*task]
	stopped bool
	workers sync.WaitGroup
}

// task is something that can be scheduled. The scheduler owns its fields.
type task struct {
	// run does what there is to do. It is never called twice at once.
	run func()
	// queued: waits in the queue. running: run is being called. again: schedule
	// was called meanwhile.
	queued, running, again bool
}

func newScheduler(workers int) *scheduler {
	s := &scheduler{}
	s.cond.L = &s.mu
	for range workers {
		s.workers.Go(s.work)
	}
	return s
}

// schedule makes t run soon, once for any number of calls until then.
func (s *scheduler) schedule(t *task) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.running {
		t.again = true
		return
	}
	s.enqueue(t)
}

func (s *scheduler) enqueue(t *task) {
	if !t.queued && !s.stopped {
		t.queued = true
		s.queue.push(t)
		s.cond.Signal()
	}
}

func (s *scheduler) work() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for {
		for s.queue.len() == 0 && !s.stopped {
			s.cond.Wait()
		}
		if s.stopped {
			return
		}
		t := s.queue.pop()
		t.queued, t.running = false, true
		s.mu.Unlock()
		t.run()
		s.mu.Lock()
		t.running = false
		if t.again {
			t.again = false
			s.enqueue(t)
		}
	}
}

// stop makes the workers return and waits for them. Nothing runs afterwards.
func (s *scheduler) stop() {
	s.mu.Lock()
	s.stopped = true
	s.mu.Unlock()
	s.cond.Broadcast()
	s.workers.Wait()
}
