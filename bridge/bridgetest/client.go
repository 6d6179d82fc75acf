// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// maxSeen bounds the events that a client remembers; the oldest go first.
const maxSeen = 100_000

// syncPause is the pause after a sync that failed.
const syncPause = 200 * time.Millisecond

// Client is a person with a Matrix client: it syncs from [Login] to
// [Client.Close], joins every room it is invited to, and remembers the events it
// has seen. Its methods may be called from any goroutine.
type Client struct {
	// Matrix is the client below, for calls that Client lacks.
	Matrix *mautrix.Client
	// Device is what the client encrypts with, nil when it does not.
	Device *Device

	transport *http.Transport
	stop      context.CancelFunc
	syncing   sync.WaitGroup

	mu      sync.Mutex
	changed chan struct{} // closed and replaced when seen grew
	seen    []*event.Event
}

// Login logs in with a password and starts to sync. The first sync is done when
// it returns.
func Login(ctx context.Context, homeserverURL, user, password string) (*Client, error) {
	return login(ctx, homeserverURL, user, password, false)
}

// LoginEncrypting is [Login] with a client that encrypts: it opens encrypted rooms,
// sends into them what only their members can read, and reads it.
func LoginEncrypting(ctx context.Context, homeserverURL, user, password string) (*Client, error) {
	return login(ctx, homeserverURL, user, password, true)
}

func login(ctx context.Context, homeserverURL, user, password string, encrypting bool) (*Client, error) {
	matrix, err := mautrix.NewClient(homeserverURL, "", "")
	if err != nil {
		return nil, fmt.Errorf("matrix client: %w", err)
	}
	c := &Client{Matrix: matrix, transport: &http.Transport{}, changed: make(chan struct{})}
	matrix.Client = &http.Client{Transport: c.transport, Timeout: 2 * time.Minute}
	matrix.Log = zerolog.Nop()
	_, err = matrix.Login(ctx, &mautrix.ReqLogin{
		Type:             mautrix.AuthTypePassword,
		Identifier:       mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: user},
		Password:         password,
		StoreCredentials: true,
	})
	if err != nil {
		c.transport.CloseIdleConnections()
		return nil, fmt.Errorf("log in as %q: %w", user, err)
	}
	if encrypting {
		if c.Device, err = newDevice(ctx, matrix); err != nil {
			c.transport.CloseIdleConnections()
			return nil, fmt.Errorf("log in as %q: %w", user, err)
		}
	}
	first, err := c.sync(ctx, "", 0)
	if err != nil {
		c.transport.CloseIdleConnections()
		return nil, fmt.Errorf("first sync of %q: %w", user, err)
	}
	running, stop := context.WithCancel(context.Background())
	c.stop = stop
	c.syncing.Go(func() { c.syncLoop(running, first) })
	return c, nil
}

// Close ends the syncing and returns when nothing of the client is left. The
// login stays valid.
func (c *Client) Close() {
	c.stop()
	c.syncing.Wait()
	c.transport.CloseIdleConnections()
}

// UserID is the user the client is logged in as.
func (c *Client) UserID() id.UserID { return c.Matrix.UserID }

func (c *Client) syncLoop(ctx context.Context, since string) {
	for ctx.Err() == nil {
		next, err := c.sync(ctx, since, 30*time.Second)
		if err == nil {
			since = next
			continue
		}
		pause := time.NewTimer(syncPause)
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
		}
	}
}

func (c *Client) sync(ctx context.Context, since string, wait time.Duration) (next string, err error) {
	resp, err := c.Matrix.FullSyncRequest(ctx, mautrix.ReqSync{
		Timeout: int(wait.Milliseconds()), Since: since, FullState: false, SetPresence: event.PresenceOnline,
	})
	if err != nil {
		return "", err
	}
	var events []*event.Event
	if c.Device != nil {
		events = c.Device.receive(ctx, resp, since)
	}
	for roomID, room := range resp.Rooms.Join {
		for _, batch := range [][]*event.Event{room.State.Events, room.Timeline.Events} {
			for _, evt := range batch {
				evt = c.readEvent(ctx, roomID, evt)
				if c.Device != nil {
					c.Device.note(ctx, evt)
					if evt.Type == event.EventEncrypted {
						c.Device.keep(evt)
						continue
					}
				}
				events = append(events, evt)
			}
		}
	}
	c.mu.Lock()
	c.seen = append(c.seen, events...)
	if over := len(c.seen) - maxSeen; over > 0 {
		c.seen = slices.Delete(c.seen, 0, over)
	}
	close(c.changed)
	c.changed = make(chan struct{})
	c.mu.Unlock()

	for roomID := range resp.Rooms.Invite {
		if _, err := c.Matrix.JoinRoomByID(ctx, roomID); err != nil && !errors.Is(err, mautrix.MForbidden) {
			return "", fmt.Errorf("join %s: %w", roomID, err)
		}
	}
	return resp.NextBatch, nil
}

// readEvent fills in what the API leaves out, and decrypts if it can. Content that
// does not fit its type stays raw.
func (c *Client) readEvent(ctx context.Context, roomID id.RoomID, evt *event.Event) *event.Event {
	evt.RoomID = roomID
	evt.Type.Class = event.MessageEventType
	if evt.StateKey != nil {
		evt.Type.Class = event.StateEventType
	}
	_ = evt.Content.ParseRaw(evt.Type)
	if c.Device != nil {
		return c.Device.open(ctx, evt)
	}
	return evt
}

// Wait returns the first event, of those seen already and those still to come,
// for which match is true.
func (c *Client) Wait(ctx context.Context, match func(*event.Event) bool) (*event.Event, error) {
	for next := 0; ; {
		c.mu.Lock()
		changed, seen := c.changed, c.seen
		c.mu.Unlock()
		for _, evt := range seen[min(next, len(seen)):] {
			if match(evt) {
				return evt, nil
			}
		}
		next = len(seen)
		if len(seen) >= maxSeen {
			next = 0 // the oldest were dropped: look at all again
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, fmt.Errorf("wait for a Matrix event: %w", ctx.Err())
		}
	}
}

// Seen returns the ids of all events seen so far for which match is true, for
// a caller that waits for another one.
func (c *Client) Seen(match func(*event.Event) bool) map[id.EventID]bool {
	c.mu.Lock()
	seen := c.seen
	c.mu.Unlock()
	found := make(map[id.EventID]bool)
	for _, evt := range seen {
		if match(evt) {
			found[evt.ID] = true
		}
	}
	return found
}

// WaitText waits for a message with exactly this text in a room; an empty room
// means any, an empty sender anybody.
func (c *Client) WaitText(ctx context.Context, roomID id.RoomID, sender id.UserID, text string) (*event.Event, error) {
	evt, err := c.Wait(ctx, func(evt *event.Event) bool {
		return (roomID == "" || evt.RoomID == roomID) && (sender == "" || evt.Sender == sender) &&
			evt.Type == event.EventMessage && evt.Content.AsMessage().Body == text
	})
	if err != nil {
		return nil, fmt.Errorf("text %.64q: %w", text, err)
	}
	return evt, nil
}

// SendText writes a message.
func (c *Client) SendText(ctx context.Context, roomID id.RoomID, text string) (id.EventID, error) {
	resp, err := c.Matrix.SendText(ctx, roomID, text)
	if err != nil {
		return "", fmt.Errorf("send to %s: %w", roomID, err)
	}
	return resp.EventID, nil
}

// OpenDirect makes a direct room with somebody, encrypted if the client encrypts,
// and waits until they have joined.
func (c *Client) OpenDirect(ctx context.Context, with id.UserID) (id.RoomID, error) {
	request := &mautrix.ReqCreateRoom{Preset: "trusted_private_chat", IsDirect: true, Invite: []id.UserID{with}}
	if c.Device != nil {
		request.InitialState = []*event.Event{{Type: event.StateEncryption, Content: event.Content{
			Parsed: &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1},
		}}}
	}
	resp, err := c.Matrix.CreateRoom(ctx, request)
	if err != nil {
		return "", fmt.Errorf("make a room with %s: %w", with, err)
	}
	_, err = c.Wait(ctx, func(evt *event.Event) bool {
		return evt.RoomID == resp.RoomID && evt.Type == event.StateMember && evt.GetStateKey() == string(with) &&
			evt.Content.AsMember().Membership == event.MembershipJoin
	})
	if err != nil {
		return "", fmt.Errorf("%s does not join: %w", with, err)
	}
	return resp.RoomID, nil
}

// timelinePage is more events than the rooms of tests have: see Timeline.
const timelinePage = 10_000

// Timeline asks the homeserver for all events of a room, oldest first, state
// events included.
//
// Dendrite v0.15.2 leaves events out where one page ends and the next begins:
// its token goes on below the depth of the last event, and whatever was sent at
// the same moment has the same depth. It also allows 100 events in a page, but not
// when the filter says otherwise. So everything is asked for in one page.
func (c *Client) Timeline(ctx context.Context, roomID id.RoomID) ([]*event.Event, error) {
	var events []*event.Event
	filter := &mautrix.FilterPart{Limit: timelinePage}
	for from := ""; ; {
		page, err := c.Matrix.Messages(ctx, roomID, from, "", mautrix.DirectionBackward, filter, timelinePage)
		if err != nil {
			return nil, fmt.Errorf("read the timeline of %s: %w", roomID, err)
		}
		for _, evt := range page.Chunk {
			events = append(events, c.readEvent(ctx, roomID, evt))
		}
		if page.End == "" || page.End == from || len(page.Chunk) == 0 {
			break
		}
		from = page.End
	}
	slices.Reverse(events)
	return events, nil
}

// Texts returns the bodies of all messages that a user has written in a room,
// oldest first; an empty sender means everybody.
func (c *Client) Texts(ctx context.Context, roomID id.RoomID, sender id.UserID) ([]string, error) {
	events, err := c.Timeline(ctx, roomID)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, evt := range events {
		if evt.Type == event.EventMessage && (sender == "" || evt.Sender == sender) {
			texts = append(texts, evt.Content.AsMessage().Body)
		}
	}
	return texts, nil
}
