// SPDX-License-Identifier: MPL-2.0

package main

import (
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
)

// TestEvents_EveryKindAndType_HasSentence fails when a kind of event, a type of message
// or a reason of a changed contact is only said by its name.
func TestEvents_EveryKindAndType_HasSentence(t *testing.T) {
	for _, kind := range eventlog.Kinds() {
		if sentences[kind.Kind] == nil {
			t.Errorf("no sentence for the kind %s", kind.Kind)
			continue
		}
		if text := sentences[kind.Kind](control.Event{Contact: bobKey, Name: "Bob", Node: "node"}); text == "" {
			t.Errorf("%s is said by nothing", kind.Kind)
		}
	}
	for _, typ := range eventlog.Types() {
		if summaries[typ.Name] == nil {
			t.Errorf("no summary for the type %s", typ.Name)
			continue
		}
		if text := summary(control.Message{TypeName: typ.Name, Payload: []byte("x")}); text == "" {
			t.Errorf("a message %s is said by nothing", typ.Name)
		}
	}
	for reason := range strings.SplitSeq("nickname name info avatar muted unmuted asked requested accepted declined blocked unblocked", " ") {
		if changes[reason] == nil {
			t.Errorf("no sentence for what has changed: %s", reason)
		}
	}
}

func TestEvents_InWords(t *testing.T) {
	yes, no := true, false
	quoted := &control.Quoted{ID: "o0000000000000001", Direction: "out", TypeName: "text", Text: "see you at eight"}
	bob := control.Event{Contact: bobKey, Name: "Bob"}
	with := func(kind store.EventKind, change func(*control.Event)) control.Event {
		e := bob
		e.Kind = kind.String()
		change(&e)
		return e
	}
	received := func(m control.Message) control.Event {
		return with(store.MessageReceived, func(e *control.Event) { m.ID, m.Direction = "i0000000000000002", "in"; e.Message = &m })
	}
	file := func(state, reason string) control.Event {
		return with(store.MediaChanged, func(e *control.Event) {
			e.Message = &control.Message{ID: "i0000000000000002", Direction: "in", File: &control.File{Name: "a.jpg", Picture: true, State: state, Reason: reason}}
		})
	}
	for want, e := range map[string]control.Event{
		"Bob: hello": received(control.Message{TypeName: "text", Text: "hello"}),
		"Bob: yes (reply to your “see you at eight”)":                                 received(control.Message{TypeName: "text", Text: "yes", ReplyTo: "1", RefersTo: quoted}),
		"Bob: yes (reply to message 1, which is not here)":                            received(control.Message{TypeName: "text", Text: "yes", ReplyTo: "1"}),
		"Bob: [reacted with 👍 to your “see you at eight”]":                            received(control.Message{TypeName: "reaction", Reaction: &control.ReactionTo{Target: "1", Emoji: "👍"}, RefersTo: quoted}),
		"Bob: [took a reaction back from your “see you at eight”]":                    received(control.Message{TypeName: "reaction", Reaction: &control.ReactionTo{Target: "1"}, RefersTo: quoted}),
		"Bob: [picture a.jpg, 1.5 KiB] look":                                          received(control.Message{TypeName: "image", File: &control.File{Name: "a.jpg", Size: 1536, Picture: true, Caption: "look"}}),
		"Bob: [voice message, 2.0 MiB]":                                               received(control.Message{TypeName: "file", File: &control.File{Name: "v.m4a", Size: 2 << 20, Voice: true}}),
		"Bob: [voice message, 9 B] Left on the answering machine during a call: 0:07": received(control.Message{TypeName: "file", File: &control.File{Name: "v.m4a", Size: 9, Voice: true, Caption: "Left on the answering machine during a call: 0:07"}}),
		"Bob has called":                                   with(store.CallMissed, func(*control.Event) {}),
		"Bob: [file a b.pdf, 9 B]":                         received(control.Message{TypeName: "file", File: &control.File{Name: "a\nb.pdf", Size: 9}}),
		"Bob: [a message of an unknown type, 77, 3 bytes]": received(control.Message{TypeName: "unknown", Type: 77, Payload: []byte("abc")}),
		"Bob: [text that cannot be shown, 1 bytes]":        received(control.Message{TypeName: "text", Payload: []byte{0xff}}),
		"Bob: [a message that was removed]":                with(store.MessageReceived, func(*control.Event) {}),
		"the picture a.jpg from Bob is here (save it with: mimird file get d75a980182b10ab7 i0000000000000002)": file("stored", ""),
		"the picture a.jpg from Bob was not transferred: no server has it":                                      file("failed", "no server has it"),
		"Bob has changed their picture; Bob has changed their info text":                                        with(store.ContactChanged, func(e *control.Event) { e.Reason = "avatar,info" }),
		"contact changed: Bob":             with(store.ContactChanged, func(*control.Event) {}),
		"Bob is blocked":                   with(store.ContactChanged, func(e *control.Event) { e.Reason = "blocked" }),
		"Bob has said yes to your request": with(store.ContactAnswered, func(e *control.Event) { e.Accepted = &yes }),
		"Bob has declined your request":    with(store.ContactAnswered, func(e *control.Event) { e.Accepted = &no }),
		"Bob asks to be your contact: hi, it is me (answer with: mimird contact accept d75a980182b10ab7, or decline)": with(store.RequestReceived, func(e *control.Event) { e.Request = "hi, it is\nme" }),
		"new kind: Bob": {Kind: "new_kind", Name: "Bob", Contact: bobKey},
	} {
		if have := describe(e); have != want {
			t.Errorf("have %q\nwant %q", have, want)
		}
	}
	line := eventLine(control.Event{Kind: "message_received", Name: "Bob", Time: time.Date(2026, 11, 30, 8, 0, 0, 0, time.Local), Message: &control.Message{ID: "i0000000000000002", TypeName: "text", Text: "hello"}})
	if line != "2026-11-30 08:00:00  i0000000000000002  Bob: hello" {
		t.Errorf("line %q", line)
	}
}

func TestShow_UnreadMark_BeforeFirstUnread(t *testing.T) {
	in := func(typ string) control.Message { return control.Message{Direction: "in", TypeName: typ} }
	out := control.Message{Direction: "out", TypeName: "text"}
	all := []control.Message{in("text"), out, in("text"), in("reaction"), in("file")}
	for unread, want := range map[int]int{0: -1, 1: 4, 2: 2, 3: 0, 7: 0} {
		if have := unreadFrom(shown{Unread: unread, Messages: all}); have != want {
			t.Errorf("%d unread begin at %d, want %d", unread, have, want)
		}
	}
	if have := unreadFrom(shown{Unread: 2, Messages: []control.Message{out}}); have != 0 {
		t.Errorf("unread before the page begin at %d", have)
	}
}
