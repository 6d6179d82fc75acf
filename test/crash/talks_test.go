// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// conversation is what a contact and the user say to each other.
type conversation struct {
	contact
	world *world
	room  id.RoomID
	ghost id.UserID

	mu       sync.Mutex
	toRoom   []string // accepted, in order
	fromRoom []string
	seen     int // events of the room
	looked   time.Time
	texts    []string
}

// askEvery is how often a real homeserver is asked for the timeline of a room.
const askEvery = 250 * time.Millisecond

// direction is one of the two in which messages go.
type direction string

const (
	mimirToMatrix direction = "Mimir to Matrix"
	matrixToMimir direction = "Matrix to Mimir"
)

var directions = []direction{mimirToMatrix, matrixToMimir}

// inGroups counts what happens in groups, which no room is bridged to.
const inGroups direction = "In groups"

// write writes the next text in one direction. One goroutine at a time may write
// in each direction of a conversation.
func (c *conversation) write(ctx context.Context, d direction) error {
	c.mu.Lock()
	room, list := c.room, &c.toRoom
	text := fmt.Sprintf("%s %d", c.name(), len(c.toRoom))
	if d == matrixToMimir {
		list, text = &c.fromRoom, fmt.Sprintf("to %s %d", c.name(), len(c.fromRoom))
	}
	c.mu.Unlock()
	var err error
	switch {
	case d == mimirToMatrix:
		err = c.contact.write(ctx, text)
	case room == "": // the room is made by the contact's first text
		return nil
	default:
		_, err = c.world.user.SendText(ctx, room, text)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", text, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	*list = append(*list, text)
	return nil
}

// accepted is what has been written in one direction.
func (c *conversation) accepted(d direction) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d == matrixToMimir {
		return slices.Clone(c.fromRoom)
	}
	return slices.Clone(c.toRoom)
}

// arrived is what has arrived in one direction: in the room, or at the contact.
func (c *conversation) arrived(d direction) []string {
	if d == matrixToMimir {
		return c.heard()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.look()
	return slices.Clone(c.texts)
}

// look reads what is new in the room. A real homeserver is not asked all the time.
func (c *conversation) look() {
	if c.world.homeserver != nil {
		timeline := c.world.homeserver.Timeline(c.room)
		for _, e := range timeline[min(c.seen, len(timeline)):] {
			var content event.MessageEventContent
			if e.Type == event.EventMessage.Type && e.Sender == c.ghost && json.Unmarshal(e.Content, &content) == nil && content.MsgType == event.MsgText {
				c.texts = append(c.texts, content.Body)
			}
		}
		c.seen = len(timeline)
		return
	}
	if c.room == "" || time.Since(c.looked) < askEvery {
		return
	}
	timeline, err := c.world.user.Timeline(c.world.t.Context(), c.room)
	c.looked = time.Now()
	if err != nil {
		return // it is asked again
	}
	c.texts = nil
	for _, e := range timeline {
		if e.Type == event.EventMessage && e.Sender == c.ghost && e.Content.AsMessage().MsgType == event.MsgText {
			c.texts = append(c.texts, e.Content.AsMessage().Body)
		}
	}
}

// underWay is how many texts have not arrived yet.
func (c *conversation) underWay(d direction) int {
	return len(c.accepted(d)) - len(slices.Compact(c.arrived(d))) // what is repeated follows at once
}

// say writes some texts in some directions of all conversations.
func (w *world) say(texts int, ds ...direction) {
	w.t.Helper()
	for range texts {
		for _, c := range w.talks {
			for _, d := range ds {
				w.must(c.write(w.soon(), d))
			}
		}
	}
}

const (
	// window is how many texts are under way at most in one direction of a
	// conversation, and loadEvery how often one more is written.
	window    = 20
	loadEvery = 20 * time.Millisecond
)

// load writes in some directions of all conversations until the function it
// returns is called.
func (w *world) load(ds ...direction) (end func()) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	var writers sync.WaitGroup
	for _, c := range w.talks {
		for _, d := range ds {
			writers.Go(func() {
				tick := time.NewTicker(loadEvery)
				defer tick.Stop()
				for {
					select {
					case <-ctx.Done():
						return
					case <-tick.C:
					}
					if c.underWay(d) >= window {
						continue
					}
					// It must not be cut off: what becomes of it would be unknown.
					if err := c.write(context.WithoutCancel(ctx), d); err != nil {
						w.t.Errorf("%s%v", w.note, err)
						return
					}
				}
			})
		}
	}
	end = sync.OnceFunc(func() {
		stop()
		writers.Wait()
	})
	w.t.Cleanup(end)
	return end
}
