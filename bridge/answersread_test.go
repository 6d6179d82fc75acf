// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mimird/mimird/bridge/bridgetest"
)

// incomingRead is a request with which the bridge reads what an event from Matrix needs.
type incomingRead struct {
	name    string
	matches func(*http.Request) bool
	// content is that of an event that needs it.
	content string
	// sent is what goes to the contact when the homeserver answers well.
	sent string
	// without says that the event goes without it: else the user is told, and a file that
	// is served again within a day is sent then.
	without bool
}

func incomingReads() []incomingRead {
	return []incomingRead{
		{
			name: "quoted event", matches: getsEvent, without: true, sent: "an answer",
			content: `{"msgtype":"m.text","body":"an answer","m.relates_to":{"m.in_reply_to":{"event_id":"$unknown"}}}`,
		},
		{
			name: "file", matches: downloads, sent: "plan.txt||",
			content: `{"msgtype":"m.file","body":"plan.txt","url":"mxc://mimir.test/` + plan + `"}`,
		},
	}
}

// plan is a file that a bubble's homeserver has.
const plan = "plan"

// writes puts an event of alice into the journal, as the homeserver pushes it.
func (c *talk) writes(id, content string) {
	c.t.Helper()
	event, err := json.Marshal(map[string]any{
		"event_id": "$" + id, "room_id": c.room(), "sender": bubbleUser, "type": "m.room.message", "origin_server_ts": time.Now().UnixMilli(),
		"content": json.RawMessage(content),
	})
	if err == nil {
		err = c.bridge.Push(c.t.Context(), id, event)
	}
	if err != nil {
		c.t.Fatal(err)
	}
}

// outgoing is what the contact was sent.
func (c *talk) outgoing() (texts []string) {
	for _, m := range c.node.outgoing(c.account, c.contact) {
		texts = append(texts, string(m.Payload))
	}
	return texts
}

// Bar R07, from Matrix to Mimir: whatever the homeserver answers when the bridge reads
// what an event needs, the other rooms are not later by it, those behind it in the same
// room go out, and nothing is lost without a word.
func TestAnswers_EveryAnswerToEveryRead(t *testing.T) {
	for i, read := range incomingReads() {
		t.Run(read.name, func(t *testing.T) {
			var met atomic.Int32
			inAnswerBubble(t, func(b *bubble) {
				incoming, stop := context.WithCancel(b.t.Context())
				wait := b.bridge.StartIncoming(incoming, b.opts, b.logger)
				defer func() {
					b.homeserver.SetFault(bridgetest.Fault{})
					stop()
					if err := wait(); err != nil {
						b.t.Error(err)
					}
				}()
				b.homeserver.StoreMedia(plan, []byte("a plan"))
				for n, a := range someAnswers(i, 6) {
					everyRead(b, read, fmt.Sprintf("%d", n), a, &met)
				}
			})
			if met.Load() == 0 {
				t.Error("the bridge has not sent the request")
			}
		})
	}
}

func everyRead(b *bubble, read incomingRead, turn string, a answer, met *atomic.Int32) {
	b.t.Helper()
	talks := []*talk{b.meet("One " + a.name), b.meet("Two " + a.name), b.meet("Other " + a.name)}
	for _, c := range talks {
		c.says("hello")
	}
	b.pass(10 * time.Second)
	fault := a.fault
	fault.Only = func(r *http.Request) bool {
		ours := read.matches(r)
		if ours {
			met.Add(1)
		}
		return ours
	}
	b.homeserver.SetFault(fault)
	for i, c := range talks[:2] {
		c.writes(fmt.Sprintf("needs-%s-%d", turn, i), read.content)
		c.writes(fmt.Sprintf("behind-%s-%d", turn, i), `{"msgtype":"m.text","body":"behind it"}`)
	}
	other := talks[2]
	other.writes("other-"+turn, `{"msgtype":"m.text","body":"elsewhere"}`)
	b.pass(2 * time.Second)
	if sent := other.outgoing(); !slices.Equal(sent, []string{"elsewhere"}) {
		b.t.Errorf("%s: another room waits: %q", a.name, sent)
	}
	b.pass(2 * time.Minute)
	for _, c := range talks[:2] {
		sent := c.outgoing()
		if !slices.Contains(sent, "behind it") {
			b.t.Errorf("%s: what is behind it is not sent: %q", a.name, sent)
		}
		told := slices.ContainsFunc(c.shown(), func(text string) bool {
			return strings.Contains(text, "not bridged") || strings.Contains(text, "waits")
		})
		if read.without == told || read.without != slices.Contains(sent, read.sent) {
			b.t.Errorf("%s: sent %q, the room has %q", a.name, sent, c.shown())
		}
	}
	b.homeserver.SetFault(bridgetest.Fault{})
	b.pass(2 * time.Hour)
	for _, c := range talks[:2] {
		sent := c.outgoing()
		refused := slices.ContainsFunc(c.shown(), func(text string) bool { return strings.Contains(text, "not bridged") })
		if slices.Contains(sent, read.sent) == refused || len(sent) > 2 {
			b.t.Errorf("%s: lost or doubled: %q, the room has %q", a.name, sent, c.shown())
		}
	}
}
