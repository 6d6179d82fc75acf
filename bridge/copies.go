// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

const (
	// maxEarly bounds the events that are remembered because they came before it was
	// noted what they show. Each is for the moment between the two.
	maxEarly = 256
	// maxLate bounds those that are remembered because they were sent and have not
	// come yet, which spares a look into the table.
	maxLate = 64
)

// copies takes back the second event of a message. One that was sent again because
// the homeserver did not have it may turn up all the same: what Dendrite v0.15.2 has
// in its hands when it is killed, it takes up again 30 seconds later when it was
// about to be listed, and after 5 minutes and 10 seconds when it was to be put into
// the room, and what comes meanwhile overtakes it. No look into the room, and no
// barrier, can know of it.
//
// The event that counts is the one in the bridge's table: replies and reactions
// refer to it.
type copies struct {
	br     *bridgev2.Bridge
	node   Node
	matrix matrixConnector
	log    *slog.Logger

	mu    sync.Mutex // from the look into the table until it is noted what was seen
	early map[shownIn]*event.Event
	order []shownIn    // of early, oldest first
	late  []id.EventID // the events that count, oldest first
}

// shownIn is a message in a room.
type shownIn struct {
	room    id.RoomID
	message networkid.MessageID
}

// came looks at an event of a portal's room. An error means that it has to be
// looked at again.
func (c *copies) came(ctx context.Context, evt *event.Event) error {
	mark, ok := evt.Content.Raw[markerKey].(string)
	if !ok || evt.Type != event.EventMessage && evt.Type != event.EventEncrypted && evt.Type != event.EventReaction {
		return nil
	}
	portal, err := c.br.GetPortalByMXID(ctx, evt.RoomID)
	if err != nil {
		return fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if portal == nil || !c.isOurs(portal, evt) {
		return nil
	}
	if evt.Type == event.EventReaction {
		return c.reactionCame(ctx, portal, evt)
	}
	contact, err := portalContact(portal)
	if err != nil {
		return nil //nolint:nilerr // a portal of no conversation
	}
	in := shownIn{evt.RoomID, networkid.MessageID(string(contact) + "/" + mark)}
	row, err := c.rowOrNote(ctx, portal, in, evt)
	if err != nil || row == nil {
		return err
	}
	return c.takeBack(ctx, row, evt)
}

// isOurs tells our events from those of members who copy the marker.
func (c *copies) isOurs(portal *bridgev2.Portal, evt *event.Event) bool {
	if evt.Sender == c.matrix.bot().UserID || c.br.IsGhostMXID(evt.Sender) {
		return true
	}
	login := c.br.GetCachedUserLoginByID(portal.Receiver)
	return login != nil && evt.Sender == login.UserMXID && evt.Content.Raw[appservice.DoublePuppetKey] != nil
}

// rowOrNote returns what the table says of a message, or remembers its event. It
// returns nothing for an event that is known to be the one that counts.
func (c *copies) rowOrNote(ctx context.Context, portal *bridgev2.Portal, in shownIn, evt *event.Event) (*database.Message, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if at := slices.Index(c.late, evt.ID); at >= 0 {
		c.late = slices.Delete(c.late, at, at+1)
		return nil, nil
	}
	rows, err := c.br.DB.Message.GetAllPartsByID(ctx, portal.Receiver, in.message)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errUnreadable, err)
	}
	if len(rows) > 0 {
		return rows[0], nil
	}
	if c.early == nil {
		c.early = make(map[shownIn]*event.Event)
	}
	if c.early[in] == nil {
		if len(c.order) == maxEarly {
			delete(c.early, c.order[0])
			c.order = c.order[1:]
		}
		c.order = append(c.order, in)
	}
	c.early[in] = evt
	return nil, nil
}

// sent is told of the row of an event that was sent just now.
func (c *copies) sent(ctx context.Context, room id.RoomID, row *database.Message) {
	c.mu.Lock()
	in := shownIn{room, row.ID}
	evt := c.early[in]
	delete(c.early, in) // its place in order is taken until it is the oldest
	if evt == nil {
		if len(c.late) == maxLate {
			c.late = slices.Delete(c.late, 0, 1)
		}
		c.late = append(c.late, row.MXID)
	}
	c.mu.Unlock()
	if evt == nil {
		return
	}
	if err := c.takeBack(ctx, row, evt); err != nil {
		c.log.Warn("an event that is in a room twice cannot be taken back", "event_id", evt.ID, "error", oneLine(err))
	}
}

// takeBack redacts an event when the table has another one for its message. Both
// have the time of the message: an event with another time is something else, such
// as a message that its user has forwarded.
func (c *copies) takeBack(ctx context.Context, row *database.Message, evt *event.Event) error {
	if row.MXID == evt.ID || row.HasFakeMXID() || row.Timestamp.UnixMilli() != evt.Timestamp {
		return nil
	}
	return c.redact(ctx, evt, row.MXID)
}

// redact takes back an event, of which another one shows what it shows.
func (c *copies) redact(ctx context.Context, evt *event.Event, shown id.EventID) error {
	_, err := c.matrix.bot().RedactEvent(mautrix.WithMaxRetries(ctx, 0), evt.RoomID, evt.ID,
		mautrix.ReqRedact{Reason: "This was sent twice"})
	if err = classify(err); errors.Is(err, errRefused) || errors.Is(err, errRoom) {
		c.log.Warn("an event that is in a room twice cannot be taken back", "event_id", evt.ID, "error", oneLine(err))
		return nil
	}
	if err != nil {
		return fmt.Errorf("take back an event that is there twice: %w", err)
	}
	c.log.Info("an event was taken back, what it shows was in the room already", "event_id", evt.ID, "shown_as", shown)
	return nil
}
