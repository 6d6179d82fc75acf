// SPDX-License-Identifier: MPL-2.0

package store

import (
	"encoding"
	"errors"
	"math"
	"testing"
	"time"
)

func TestMessageIDText(t *testing.T) {
	for text, id := range map[string]MessageID{
		"i0000000000000001":       {GUID: 1},
		"offffffffffffffff":       {Dir: Out, GUID: -1},
		"o8000000000000000-1":     {Dir: Out, GUID: math.MinInt64, Variant: 1},
		"i7fffffffffffffff-65535": {GUID: math.MaxInt64, Variant: math.MaxUint16},
	} {
		if got := id.String(); got != text {
			t.Errorf("%+v is written %s, want %s", id, got, text)
		}
		var read MessageID
		if err := read.UnmarshalText([]byte(text)); err != nil || read != id {
			t.Errorf("%s is read %+v, %v", text, read, err)
		}
		if raw, err := id.MarshalText(); err != nil || string(raw) != text {
			t.Errorf("%s, %v", raw, err)
		}
	}
	if !(MessageID{}).IsZero() || (MessageID{GUID: 1}).IsZero() {
		t.Error("IsZero")
	}
}

func TestMessageIDRefuses(t *testing.T) {
	for _, text := range []string{
		"", "i", "x0000000000000001", "i000000000000001", "i0000000000000000", "i000000000000000g",
		"iABCDEF0000000000", "i0000000000000001-", "i0000000000000001-0", "i0000000000000001-01",
		"i0000000000000001-65536", "i0000000000000001-+1", "i00000000000000011", "i0000000000000001 ",
	} {
		if id, err := ParseMessageID(text); err == nil {
			t.Errorf("%q is read %+v", text, id)
		}
	}
	if err := new(MessageID).UnmarshalText([]byte("x")); err == nil {
		t.Error("no error")
	}
}

func FuzzMessageID(f *testing.F) {
	f.Add("i0000000000000001-3")
	f.Fuzz(func(t *testing.T, text string) {
		if id, err := ParseMessageID(text); err == nil && id.String() != text {
			t.Errorf("%q is written %s", text, id)
		}
	})
}

type enum interface {
	String() string
	encoding.TextMarshaler
}

func TestEnumText(t *testing.T) {
	for _, test := range []struct {
		value enum
		into  encoding.TextUnmarshaler
		text  string
	}{
		{StrangersAsk, new(StrangerPolicy), "ask"},
		{StrangersAccept, new(StrangerPolicy), "accept"},
		{StrangersRefuse, new(StrangerPolicy), "refuse"},
		{ContactStranger, new(ContactState), "stranger"},
		{ContactRequested, new(ContactState), "requested"},
		{ContactAccepted, new(ContactState), "accepted"},
		{ContactBlocked, new(ContactState), "blocked"},
		{StateReceived, new(MessageState), "received"},
		{StatePending, new(MessageState), "pending"},
		{StateDelivered, new(MessageState), "delivered"},
		{StateFailed, new(MessageState), "failed"},
		{AccountAdded, new(EventKind), "account_added"},
		{AccountChanged, new(EventKind), "account_changed"},
		{ContactAdded, new(EventKind), "contact_added"},
		{ContactChanged, new(EventKind), "contact_changed"},
		{ContactRemoved, new(EventKind), "contact_removed"},
		{NodeKeyChanged, new(EventKind), "node_key_changed"},
		{MessageReceived, new(EventKind), "message_received"},
		{MessageEdited, new(EventKind), "message_edited"},
		{MessageQueued, new(EventKind), "message_queued"},
		{MessageDelivered, new(EventKind), "message_delivered"},
		{MessageFailed, new(EventKind), "message_failed"},
		{ForeignNodeAnnounced, new(EventKind), "announced_elsewhere"},
		{CallMissed, new(EventKind), "call_missed"},
		{ContactAnswered, new(EventKind), "contact_answered"},
		{HandshakeRelayed, new(EventKind), "handshake_relayed"},
		{DeviceRefused, new(EventKind), "device_refused"},
		{RolePrimary, new(Role), "primary"},
		{RoleBackup, new(Role), "backup"},
		{RoleMirror, new(Role), "mirror"},
		{AskNone, new(AskState), "none"},
		{AskWaiting, new(AskState), "waiting"},
		{AskSent, new(AskState), "sent"},
		{AskAccepted, new(AskState), "accepted"},
		{AskDeclined, new(AskState), "declined"},
	} {
		if got := test.value.String(); got != test.text {
			t.Errorf("%s, want %s", got, test.text)
		}
		if raw, err := test.value.MarshalText(); err != nil || string(raw) != test.text {
			t.Errorf("%s, %v", raw, err)
		}
		if err := test.into.UnmarshalText([]byte(test.text)); err != nil || test.into.(enum).String() != test.text {
			t.Errorf("%s is read %v, %v", test.text, test.into, err)
		}
		for _, bad := range []string{"", "malformed"} {
			if err := test.into.UnmarshalText([]byte(bad)); !errors.Is(err, ErrInvalid) {
				t.Errorf("%q: %v", bad, err)
			}
		}
	}
	if got := EventKind(0).String(); got != "unknown(0)" {
		t.Error(got)
	}
	if got := ContactState(200).String(); got != "unknown(200)" {
		t.Error(got)
	}
	if In.String() != "in" || Out.String() != "out" {
		t.Error("direction")
	}
}

func TestMillis(t *testing.T) {
	if MillisOf(time.Time{}) != 0 || !Millis(0).Time().IsZero() {
		t.Error("the zero time is not 0")
	}
	now := time.Now().Truncate(time.Millisecond)
	if got := MillisOf(now).Time(); !got.Equal(now) || got.Location() != time.UTC {
		t.Errorf("%v, want %v", got, now)
	}
}
