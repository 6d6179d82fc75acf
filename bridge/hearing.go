// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/status"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/fault"
)

const (
	// hearingPath says, to those who have the token, when the homeserver was heard.
	hearingPath = selfTestPath + "/heard"
	// defaultDeafAfter is how long the homeserver may take until it sends back what
	// we have sent to it. Dendrite pauses for up to 64 s after a failure.
	defaultDeafAfter = 150 * time.Second

	selfTestRoomKey database.Key = "im.mimir.self_test_room"
	stateDeaf                    = status.BridgeStateErrorCode("mimir-deaf")
)

// selfTestEvent is sent into a room where nobody but the bot is.
var selfTestEvent = event.Type{Type: "im.mimir.self_test", Class: event.MessageEventType}

// hearing is what we have heard of the homeserver, and whether we should have. It
// is safe for use by many goroutines.
type hearing struct {
	mu     sync.Mutex
	heard  Heard
	spoken time.Time // when we began to send something that did not come back yet
	asked  time.Time // when we sent something only to see whether it comes back
	deaf   bool
}

// Heard is when a listener had visits. Both are zero for never.
type Heard struct {
	// Transaction is when the homeserver came with the right token, and Refused when
	// somebody came with a transaction and another token.
	Transaction time.Time `json:"transaction,omitzero"`
	Refused     time.Time `json:"refused,omitzero"`
}

func (h *hearing) get() Heard {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.heard
}

func (h *hearing) heardNow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard.Transaction, h.spoken = time.Now(), time.Time{}
}

func (h *hearing) refusedNow() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.heard.Refused = time.Now()
}

// spoke notes that the homeserver took an event which it has to send back, if it
// is a new one. It may have been quicker than its answer.
func (h *hearing) spoke(begun time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.spoken.IsZero() && h.heard.Transaction.Before(begun) {
		h.spoken = begun
	}
}

var errUnheard = errors.New("the homeserver does not send the bridge what happens in its rooms")

// check returns an error when the homeserver should have sent something for so
// long, and changed whether that is another result than the last time. Before that
// it wants to be sent something new, by ask: what was sent twice comes back once.
func (h *hearing) check(after time.Duration, address string, ask func() error) (changed bool, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	waits := !h.spoken.IsZero() && time.Since(h.spoken) > after/2
	if waits && h.asked.Before(h.spoken) {
		begun := time.Now()
		h.mu.Unlock()
		err := ask()
		h.mu.Lock()
		if err == nil {
			h.asked = begun
		}
	}
	deaf := waits && !h.spoken.IsZero() && h.asked.After(h.spoken) && time.Since(h.asked) > after/2
	changed, h.deaf = deaf != h.deaf, deaf
	switch {
	case deaf && h.heard.Refused.After(h.spoken):
		return changed, fmt.Errorf("%w: it comes with another hs_token; give it the registration file and restart it", errUnheard)
	case deaf:
		return changed, fmt.Errorf("%w: it has to reach %s; mimird matrix doctor says more", errUnheard, address)
	default:
		return changed, nil
	}
}

// selfTest sends an event that the homeserver has to send back: a bridge that
// nobody writes to knows whether it is reached, too.
func (c *connector) selfTest(ctx context.Context) error {
	bot := c.matrix.Bot()
	if room := id.RoomID(c.br.DB.KV.Get(ctx, selfTestRoomKey)); room != "" {
		_, err := bot.SendMessageEvent(ctx, room, selfTestEvent, struct{}{})
		if !errors.Is(err, mautrix.MForbidden) && !errors.Is(err, mautrix.MNotFound) {
			return err
		}
	}
	room, err := bot.CreateRoom(ctx, &mautrix.ReqCreateRoom{
		Name: "Mimir bridge self-test", Preset: "private_chat",
		CreationContent: map[string]any{"m.federate": false},
	})
	if err != nil {
		return err
	}
	c.br.DB.KV.Set(ctx, selfTestRoomKey, string(room.RoomID))
	return nil
}

// tellHearing tells everybody who is logged in that the bridge is deaf, or that it
// no longer is.
func (c *connector) tellHearing(deaf error) {
	for _, login := range c.br.GetAllCachedUserLogins() {
		cl, ok := login.Client.(*client)
		if !ok || !cl.IsLoggedIn() || login.BridgeState == nil {
			continue
		}
		state := c.connected(cl.account)
		if deaf != nil {
			state = status.BridgeState{
				StateEvent: status.StateUnknownError, Error: stateDeaf,
				Message: "What you write does not reach the bridge: " + fault.OneLine(deaf) + ".",
			}
		}
		c.sendState(login, state)
	}
}
