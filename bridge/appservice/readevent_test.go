// SPDX-License-Identifier: MPL-2.0

package appservice

import (
	"log/slog"
	"testing"

	"maunium.net/go/mautrix/event"
)

// What is odd beside a message does not keep it from being read.
func TestReadEvent_OddDecorationIsIgnored(t *testing.T) {
	d := &Dispatcher{deps: DispatcherDeps{Log: slog.New(slog.DiscardHandler)}}
	const content = `{"msgtype":"m.text","body":"hello"}`
	form := func(content, extra string) string {
		return `{"event_id":"$e","room_id":"!r","sender":"@a:b","type":"m.room.message","content":` + content + extra + `}`
	}
	for _, raw := range []string{
		form(content, `,"origin_server_ts":1700000000000,"unsigned":{"age":12.5}`),
		form(content, `,"origin_server_ts":1700000000000.5`),
		form(content, `,"origin_server_ts":"1700000000000"`),
		form(content, `,"origin_server_ts":1.7e12,"unsigned":[]`),
		form(content, `,"origin_server_ts":1700000000000,"unsigned":"x","redacts":5,"prev_content":7,"age":"y","hashes":[]`),
		form(`{"msgtype":"m.text","body":"hello","m.mentions":[],"info":5,"m.relates_to":"x","format":7,"file":[],"url":{}}`, `,"origin_server_ts":1700000000000`),
		form(`{"msgtype":"m.text","body":"hello","info":{"size":"large","w":[]},"com.beeper.per_message_profile":5}`, `,"origin_server_ts":1700000000000`),
	} {
		evt := d.read([]byte(raw))
		if evt == nil {
			t.Errorf("not read: %s", raw)
			continue
		}
		message, ok := evt.Content.Parsed.(*event.MessageEventContent)
		if !ok || message.Body != "hello" || message.MsgType != event.MsgText {
			t.Errorf("read is %+v of %s", evt.Content, raw)
		}
		if evt.ID != "$e" || evt.RoomID != "!r" || evt.Sender != "@a:b" || evt.Timestamp/1000 != 1_700_000_000 {
			t.Errorf("read is %+v of %s", evt, raw)
		}
	}
	for _, raw := range []string{`5`, `null`, `{}`, form(content, `,"state_key":5`), `{"event_id":["$e"],"room_id":"!r"}`} {
		if evt := d.read([]byte(raw)); evt != nil {
			t.Errorf("read is %+v of %s", evt, raw)
		}
	}
}

func TestReadTime(t *testing.T) {
	for raw, want := range map[string]int64{
		`5`: 5, `5.9`: 5, `"7"`: 7, `1e3`: 1000, `-5`: -5, `"x"`: 0, `[]`: 0, ``: 0, `1e300`: 0, `"NaN"`: 0, `null`: 0,
	} {
		if at := readTime([]byte(raw)); at != want {
			t.Errorf("%q is %d, want %d", raw, at, want)
		}
	}
}
