// SPDX-License-Identifier: MPL-2.0

package mediator_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

type capture struct {
	Direction string
	Client    string
	Command   string
	Hex       string
	Note      string
}

func (c capture) fromClient() bool { return strings.HasSuffix(c.Direction, "->mediator") }

func loadCaptures(tb testing.TB) (mediatorKey identity.PublicKey, frames []capture) {
	tb.Helper()
	var file struct {
		Mediator string
		Frames   []capture
	}
	if err := json.Unmarshal(captures, &file); err != nil {
		tb.Fatal(err)
	}
	return identity.PublicKey(wiretest.MustHex(tb, file.Mediator)), file.Frames
}

// TestCaptures_ReadAndWriteTheSameBytes reads what the reference mediator and its
// clients sent each other, and writes it again. A request that the mediator refused for
// its form is refused by Parse with the same text.
func TestCaptures_ReadAndWriteTheSameBytes(t *testing.T) {
	mediatorKey, frames := loadCaptures(t)
	type question struct {
		client string
		id     uint16
	}
	asked := make(map[question]mediator.Call)
	requests, refused, answers, pushes, events := 0, 0, 0, 0, make(map[mediator.Event]int)
	for i, frame := range frames {
		b := wiretest.MustHex(t, frame.Hex)
		switch {
		case frame.Command == "INIT":
			if len(b) == 2 && b[0] == 1 && !bytes.Equal(b, mediator.Opening[:]) {
				t.Errorf("frame %d: opening %x", i, b)
			}
		case frame.fromClient():
			call := readCall(t, b)
			asked[question{frame.Client, call.ID}] = call
			requests++
			q, err := call.Parse()
			if err != nil {
				continue // compared with the answer below
			}
			if q.Command() != call.Command {
				t.Errorf("frame %d: %s parsed as %s", i, call.Command, q.Command())
			}
			if got := mediator.AppendRequest(nil, call.ID, q); bytes.Equal(got, b) != (deviations[i] == "") {
				t.Errorf("frame %d, %s (%s): wrote\n%x, want\n%x", i, frame.Command, frame.Note, got, b)
			}
		default:
			answer := readAnswer(t, b)
			if answer.IsPush() {
				pushes++
				event := checkPush(t, mediatorKey, answer, b)
				events[event]++
				continue
			}
			call, ok := asked[question{frame.Client, answer.ID}]
			if !ok {
				continue // the capture of the request was cut
			}
			answers++
			result := resultOf(call.Command)
			err := answer.Parse(result)
			if refusal := (*mediator.ServerError)(nil); errors.As(err, &refusal) {
				_, parseErr := call.Parse()
				if isForm(refusal.Text) {
					refused++
					if parseErr == nil || parseErr.Error() != refusal.Error() {
						t.Errorf("frame %d, %s: refused with %q, we say %v", i, call.Command, refusal.Text, parseErr)
					}
				} else if parseErr != nil && refusal.Text != mediator.TextNotAuthenticated && refusal.Text != mediator.TextAuthRequired {
					t.Errorf("frame %d, %s: refused with %q, we refuse the form: %v", i, call.Command, refusal.Text, parseErr)
				}
				if got := mediator.AppendError(nil, answer.ID, refusal.Text); !bytes.Equal(got, b) {
					t.Errorf("frame %d: wrote\n%x, want\n%x", i, got, b)
				}
				continue
			}
			if err != nil {
				t.Errorf("frame %d, %s: %v", i, frame.Command, err)
				continue
			}
			if got := mediator.AppendOK(nil, answer.ID, result); !bytes.Equal(got, b) {
				t.Errorf("frame %d, %s: wrote\n%x, want\n%x", i, frame.Command, got, b)
			}
		}
	}
	if requests < 200 || answers < 200 || pushes < 130 || refused < 7 {
		t.Errorf("only %d requests, %d answers, %d pushes and %d malformed requests were in the captures", requests, answers, pushes, refused)
	}
	for event := mediator.EventUserAdded; event <= mediator.EventMemberOnline; event++ {
		if event != 2 && events[event] == 0 {
			t.Errorf("no event %d in the captures", event)
		}
	}
}

// deviations are the requests, by frame, that no client of ours writes.
var deviations = map[int]string{
	37:  "fields in another order",
	73:  "a name of 26 characters",
	77:  "a description of 201 characters",
	247: "a name of 26 characters",
	249: "a description of 201 characters",
	252: "a name that is not UTF-8",
}

// isForm reports whether a refusal is about the form of a request.
func isForm(text string) bool {
	return strings.HasPrefix(text, "missing") || text == mediator.TextBadPayload || text == mediator.TextUnknownCommand ||
		text == "invalid accepted value"
}

func checkPush(t *testing.T, mediatorKey identity.PublicKey, answer mediator.Answer, b []byte) mediator.Event {
	t.Helper()
	push, err := answer.Push()
	if err != nil || push == nil {
		t.Fatalf("push %s: %v, %v", hex.EncodeToString(b), push, err)
	}
	if got := mediator.AppendPush(nil, push); !bytes.Equal(got, b) {
		t.Errorf("push: wrote\n%x, want\n%x", got, b)
	}
	message, ok := push.(*mediator.GotMessage)
	if !ok || message.Message.Author != mediatorKey {
		return 0
	}
	system, err := mediator.ParseSystem(message.Message.Blob)
	if err != nil {
		t.Errorf("system message %x: %v", message.Message.Blob, err)
		return 0
	}
	if notUTF8 := system.Name != nil && *system.Name == "\uFFFD"; notUTF8 {
		return system.Event
	}
	if got := system.AppendTo(nil); !bytes.Equal(got, message.Message.Blob) {
		t.Errorf("system message: wrote\n%x, want\n%x", got, message.Message.Blob)
	}
	if want := mediator.SystemGUID(message.Message.Blob, message.Message.Time); message.Message.GUID != want {
		t.Errorf("event %d: guid %d, computed %d", system.Event, message.Message.GUID, want)
	}
	return system.Event
}
