// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"context"
	"errors"
	"fmt"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// Once returns a context with the values of library, the context of bridgev2, that ends with
// ctx and allows one attempt of each request.
func Once(library, ctx context.Context) (context.Context, context.CancelFunc) {
	once, cancel := context.WithCancel(library)
	stop := context.AfterFunc(ctx, cancel)
	return mautrix.WithMaxRetries(once, 0), func() { stop(); cancel() }
}

// RoomState returns a state event of a room, as the homeserver has it now. Its content is
// empty when there is none.
func RoomState(ctx context.Context, bot *appservice.IntentAPI, room id.RoomID, kind event.Type, key string) (*event.Event, error) {
	evt, err := bot.FullStateEvent(ctx, room, kind, key)
	if errors.Is(err, mautrix.MNotFound) {
		evt, err = &event.Event{Type: kind, Content: event.Content{Raw: map[string]any{}}}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the state of the room: %w", WithRetryAfter(err))
	}
	evt.Type.Class = event.StateEventType
	_ = evt.Content.ParseRaw(kind) // or it is parsed already
	return evt, nil
}
