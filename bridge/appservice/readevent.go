// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"encoding/json"
	"errors"
	"math"
	"strconv"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"
)

// read parses an event of a room, and returns nil when it cannot be. Each attempt parses
// it again, because goroutines of the library may still use the event of the one before.
// Fields that are malformed and not needed are left out: servers and clients put anything
// into an event.
func (d *Dispatcher) read(raw []byte) *event.Event {
	evt := new(event.Event)
	if err := json.Unmarshal(raw, evt); err != nil {
		if evt = readEssentials(raw); evt == nil {
			d.deps.Log.Warn("dropping an unreadable event of the homeserver", "err", err)
			return nil
		}
	}
	if !strings.HasPrefix(string(evt.ID), "$") || evt.RoomID == "" {
		d.deps.Log.Warn("dropping an event of the homeserver that has no id or no room")
		return nil
	}
	evt.Mautrix.ReceivedAt = time.Now()
	evt.Mautrix.EventSource = event.SourceTimeline
	evt.Type.Class = event.MessageEventType
	if evt.StateKey != nil {
		evt.Mautrix.EventSource |= event.SourceJoin
		evt.Type.Class = event.StateEventType
	}
	if err := parseContent(evt); err != nil {
		d.deps.Log.Debug("the content of a Matrix event cannot be read", "event_id", evt.ID, "err", err)
	}
	return evt
}

// readEssentials parses the fields of an event that are needed, each by itself. It returns
// nil when one without which it would be another event cannot be parsed.
func readEssentials(raw []byte) *event.Event {
	var fields map[string]json.RawMessage
	if json.Unmarshal(raw, &fields) != nil {
		return nil
	}
	kept := map[string]json.RawMessage{"origin_server_ts": json.RawMessage(strconv.FormatInt(readTime(fields["origin_server_ts"]), 10))}
	for _, name := range []string{"event_id", "room_id", "sender", "type", "content", "state_key", "redacts", "unsigned"} {
		value, there := fields[name]
		if !there {
			continue
		}
		one, err := json.Marshal(map[string]json.RawMessage{name: value})
		if err == nil && json.Unmarshal(one, new(event.Event)) == nil {
			kept[name] = value
		} else if name == "state_key" {
			return nil // without it, it would be another event
		}
	}
	whole, err := json.Marshal(kept)
	evt := new(event.Event)
	if err != nil || json.Unmarshal(whole, evt) != nil {
		return nil
	}
	return evt
}

// readTime parses a time in any form that servers use, and returns 0 for others.
func readTime(raw json.RawMessage) int64 {
	text := string(raw)
	_ = json.Unmarshal(raw, &text) // of a string, its content
	at, err := strconv.ParseFloat(text, 64)
	if err != nil || math.IsNaN(at) || math.Abs(at) >= math.MaxInt64 {
		return 0
	}
	return int64(at)
}

// parseContent parses the content of an event. When that of a message cannot be parsed, it
// leaves out the fields that cannot be.
func parseContent(evt *event.Event) error {
	parse := func(content *event.Content) error {
		err := content.ParseRaw(evt.Type)
		if errors.Is(err, event.ErrUnsupportedContentType) || errors.Is(err, event.ErrContentAlreadyParsed) {
			return nil
		}
		return err
	}
	err := parse(&evt.Content)
	if err == nil || evt.Type != event.EventMessage && evt.Type != event.EventSticker {
		return err
	}
	var fields, kept map[string]json.RawMessage
	if json.Unmarshal(evt.Content.VeryRaw, &fields) != nil {
		return err
	}
	kept = make(map[string]json.RawMessage)
	for name, value := range fields {
		one, failed := json.Marshal(map[string]json.RawMessage{name: value})
		if failed != nil {
			continue
		}
		var content event.Content
		if json.Unmarshal(one, &content) == nil && parse(&content) == nil {
			kept[name] = value
		}
	}
	whole, failed := json.Marshal(kept)
	if failed != nil {
		return err
	}
	var content event.Content
	if json.Unmarshal(whole, &content) != nil || parse(&content) != nil {
		return err
	}
	evt.Content = content
	return nil
}
