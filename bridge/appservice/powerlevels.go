// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"context"
	"sync"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// maxLevels bounds the rooms whose power levels are remembered; beyond it all are forgotten.
const maxLevels = 256

// previousLevels are the power levels of rooms before the event that is handled next. What
// changes in the levels of a room is the difference between two of its events; Synapse says
// what was before, Dendrite does not. The tables do not help: they have what the bot has
// sent meanwhile.
type previousLevels struct {
	mu    sync.Mutex
	rooms map[id.RoomID]*event.PowerLevelsEventContent
}

// fill adds the levels before an event to it, unless the homeserver has. tables returns what
// the tables have, for the first event of a room.
func (p *previousLevels) fill(ctx context.Context, evt *event.Event, tables func(context.Context, id.RoomID) (*event.PowerLevelsEventContent, error)) {
	if evt.Unsigned.PrevContent != nil {
		return
	}
	p.mu.Lock()
	levels := p.rooms[evt.RoomID]
	p.mu.Unlock()
	if levels == nil {
		found, err := tables(ctx, evt.RoomID)
		if err != nil || found == nil {
			return // everything counts as changed
		}
		levels = found.Clone()
		p.set(evt.RoomID, levels) // the tables are updated before the event is handled
	}
	evt.Unsigned.PrevContent = &event.Content{Parsed: levels.Clone()}
}

// handled notes that an event was handled.
func (p *previousLevels) handled(evt *event.Event) {
	if levels, ok := evt.Content.Parsed.(*event.PowerLevelsEventContent); ok {
		p.set(evt.RoomID, levels.Clone())
	}
}

func (p *previousLevels) set(room id.RoomID, levels *event.PowerLevelsEventContent) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.rooms == nil || len(p.rooms) >= maxLevels {
		p.rooms = make(map[id.RoomID]*event.PowerLevelsEventContent)
	}
	p.rooms[room] = levels
}
