// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"net"
	"sync"
	"time"
)

// deadline is one of a stream's two deadlines, under the stream's lock.
type deadline struct {
	passed bool
	timer  *time.Timer
	// setting counts calls of set: a timer that could not be stopped in time
	// finds that it is not the last one.
	setting int
}

// set moves the deadline to t and wakes those who wait for it.
func (d *deadline) set(t time.Time, cond *sync.Cond) {
	d.stop()
	d.passed = false
	if t.IsZero() {
		return
	}
	left := time.Until(t)
	if left <= 0 {
		d.passed = true
		cond.Broadcast()
		return
	}
	setting := d.setting
	d.timer = time.AfterFunc(left, func() {
		cond.L.Lock()
		defer cond.L.Unlock()
		if d.setting == setting {
			d.passed = true
			cond.Broadcast()
		}
	})
}

// stop ends the timer.
func (d *deadline) stop() {
	d.setting++
	if d.timer != nil {
		d.timer.Stop()
		d.timer = nil
	}
}

// SetDeadline implements net.Conn.
func (c *streamConn) SetDeadline(t time.Time) error {
	return c.setDeadlines(t, true, true)
}

// SetReadDeadline implements net.Conn.
func (c *streamConn) SetReadDeadline(t time.Time) error {
	return c.setDeadlines(t, true, false)
}

// SetWriteDeadline implements net.Conn.
func (c *streamConn) SetWriteDeadline(t time.Time) error {
	return c.setDeadlines(t, false, true)
}

func (c *streamConn) setDeadlines(t time.Time, read, write bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m.closed {
		return net.ErrClosed
	}
	if read {
		c.reading.set(t, &c.readable)
	}
	if write {
		c.writes.set(t, &c.writable)
	}
	return nil
}
