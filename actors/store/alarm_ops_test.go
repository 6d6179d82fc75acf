// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"testing"

	"github.com/mimird/mimird/actors/store"
)

func TestNoteHandshakeRelayed(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	seq := r.lastSeq(alice)
	must[any](r, store.NoteHandshakeRelayed{Account: alice, Remote: key(9), Node: nodeKey(7)})
	events := get[[]store.Event](r)(r.store.Events(alice, seq, 0))
	if len(events) != 1 || events[0].Kind != store.HandshakeRelayed || events[0].NodeKey != nodeKey(7) ||
		!events[0].Conversation.IsZero() || events[0].Reason != key(9).String() {
		t.Errorf("%+v", events)
	}
	for name, test := range map[string]struct {
		op   store.NoteHandshakeRelayed
		want error
	}{
		"no node":     {store.NoteHandshakeRelayed{Account: alice, Remote: key(9)}, store.ErrInvalid},
		"no identity": {store.NoteHandshakeRelayed{Account: alice, Node: nodeKey(7)}, store.ErrInvalid},
		"no account":  {store.NoteHandshakeRelayed{Account: key(8), Remote: key(9), Node: nodeKey(7)}, store.ErrNotFound},
	} {
		if _, err := do[any](r, test.op); !errors.Is(err, test.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	r.checked()
}

func TestNoteDeviceRefused(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	seq := r.lastSeq(alice)
	must[any](r, store.NoteDeviceRefused{Account: alice, Contact: bob, Node: nodeKey(7)})
	events := get[[]store.Event](r)(r.store.Events(alice, seq, 0))
	if len(events) != 1 || events[0].Kind != store.DeviceRefused || events[0].NodeKey != nodeKey(7) || events[0].Conversation.Contact() != bob {
		t.Errorf("%+v", events)
	}
	if _, err := do[any](r, store.NoteDeviceRefused{Account: alice, Contact: bob}); !errors.Is(err, store.ErrInvalid) {
		t.Errorf("no node: %v", err)
	}
	if _, err := do[any](r, store.NoteDeviceRefused{Account: alice, Contact: key(9), Node: nodeKey(7)}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("no contact: %v", err)
	}
	r.checked()
}

func TestRecordNodeKey_Unconfirmed_SaysSo(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[store.NodeKeyRecorded](r, store.RecordNodeKey{Account: alice, Contact: bob, Key: nodeKey(1), Time: 1})
	seq := r.lastSeq(alice)
	must[store.NodeKeyRecorded](r, store.RecordNodeKey{Account: alice, Contact: bob, Key: nodeKey(2), Time: 2, Unconfirmed: true})
	must[store.NodeKeyRecorded](r, store.RecordNodeKey{Account: alice, Contact: bob, Key: nodeKey(3), Time: 3})
	// An app of gen2 has a new key at every start, which is worth an event only
	// when nothing else speaks for it.
	must[store.NodeKeyRecorded](r, store.RecordNodeKey{Account: alice, Contact: bob, Key: nodeKey(4), Time: 4, Generation: 2})
	must[store.NodeKeyRecorded](r, store.RecordNodeKey{Account: alice, Contact: bob, Key: nodeKey(5), Time: 5, Generation: 2, Unconfirmed: true})
	events := get[[]store.Event](r)(r.store.Events(alice, seq, 0))
	if len(events) != 3 || events[0].Reason != store.Unconfirmed || events[1].Reason != "" || events[2].Reason != store.Unconfirmed {
		t.Errorf("%+v", events)
	}
}
