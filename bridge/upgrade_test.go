// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"archive/tar"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
)

// upgradeFixture was written by the program of commit bb5f66c, between a test's node and
// homeserver like those of this package, and cannot be written again. It has what that
// program left when it was stopped: its store, of version 2, and its tables, and what the
// homeserver had then. Two accounts, Home
// and Work, both of @alice, have two contacts each, of whom Bob is one of both. What was
// on the way, see upgradeTalks:
//
//   - of events of the store, some with the homeserver, which could not say so, some not
//     delivered, one for a contact without a room;
//   - of messages of Matrix, some undelivered, one queued and its transaction not
//     finished, one stored and not queued, one not pushed.
const upgradeFixture = "testdata/upgrade/bb5f66c.tar.gz"

// openUpgradeFixture unpacks the store, and the tables into dir. It returns the
// homeserver's state.
func openUpgradeFixture(t *testing.T, fs vfs.FS, dir string) (homeserver []byte) {
	t.Helper()
	file, err := os.Open(upgradeFixture)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(unzipped); ; {
		entry, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return homeserver
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(archive)
		}
		switch name := strings.TrimSuffix(entry.Name, "/"); {
		case err != nil:
		case name == "store":
			err = fs.MkdirAll(name, 0o700)
		case name == "homeserver.json":
			homeserver = content
		case name == "matrix.db":
			err = os.WriteFile(filepath.Join(dir, name), content, 0o600)
		default:
			var f vfs.File
			if f, err = fs.Create(name, vfs.WriteCategoryUnspecified); err == nil {
				_, err = f.Write(content)
				err = errors.Join(err, f.Sync(), f.Close())
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// upgradeTalk is a conversation of the fixture, with all that is in it at the end.
type upgradeTalk struct {
	name             string
	account, contact identity.PublicKey
	shown            []string // texts of the contact, in the room
	reactions        int      // of the contact, in the room
	sent             []string // texts of the user, in the store
	delivered        int      // of them
}

func upgradeTalks() []upgradeTalk {
	talk := func(account, contact string, shown, sent []string) upgradeTalk {
		name := account + " and " + contact
		named := func(texts []string) []string {
			all := make([]string, len(texts))
			for i, text := range texts {
				all[i] = name + ": " + text
			}
			return all
		}
		return upgradeTalk{
			name: name, account: key(account), contact: key(contact), reactions: 1,
			shown: named(shown), sent: named(append([]string{"delivered", "undelivered"}, sent...)), delivered: 1,
		}
	}
	calm := []string{"first", "while stopped 1", "while stopped 2"}
	inDoubt := []string{"first", "in doubt", "while stopped 1", "while stopped 2"}
	return []upgradeTalk{
		talk("Home", "Bob", inDoubt, []string{"not queued"}),
		talk("Home", "Carol", calm, []string{"queued, not finished"}),
		talk("Work", "Bob", inDoubt, nil),
		talk("Work", "Dave", calm, []string{"typed while stopped"}),
		{name: "Work and Erin", account: key("Work"), contact: key("Erin"), shown: []string{"Work and Erin: no room yet"}},
	}
}

// Bar R20: an upgrade makes no second room, and of what was on its way, in both
// directions, nothing is lost and nothing comes twice; also when the homeserver has
// forgotten the ids of transactions.
func TestUpgrade_DeliveriesPending_NoneLostOrDoubled(t *testing.T) {
	for name, forgetful := range map[string]bool{"remembers": false, "forgets": true} {
		t.Run("the homeserver "+name, func(t *testing.T) {
			mem := vfs.NewMem()
			dir := t.TempDir()
			state := openUpgradeFixture(t, mem, dir)
			w := newWorldOn(t, store.Options{FS: mem})
			w.dir = dir
			homeserver := w.withFake()
			if err := homeserver.Load(state); err != nil {
				t.Fatal(err)
			}
			if forgetful {
				homeserver.ForgetTransactions()
			}
			alice := w.person(homeserver.URL(), "alice")
			before := homeserver.Rooms()
			w.start()
			w.awaitState(bridge.StateRunning)
			w.await("both accounts are served", func() bool { return w.status().Logins == 2 })

			talks := upgradeTalks()
			rooms := make(map[string]id.RoomID)
			for i := range talks {
				talk := &talks[i]
				last := talk.shown[len(talk.shown)-1]
				rooms[talk.name] = w.awaitText(alice, w.ghost(talk.contact), last)
				w.awaitOutgoing(talk.account, talk.contact, talk.sent...)
			}
			w.awaitDealtWith()
			// What comes now goes the same ways, also after another start.
			for _, when := range []string{"after the upgrade", "after another start"} {
				for i := range talks {
					talk := &talks[i]
					text := talk.name + ": " + when
					w.node.receive(talk.account, talk.contact, text)
					if room := w.awaitText(alice, w.ghost(talk.contact), text); room != rooms[talk.name] {
						t.Errorf("%q is in room %s, not in %s", text, room, rooms[talk.name])
					}
					if _, err := alice.SendText(soon(t), rooms[talk.name], text+", answered"); err != nil {
						t.Fatal(err)
					}
					talk.shown, talk.sent = append(talk.shown, text), append(talk.sent, text+", answered")
					w.awaitOutgoing(talk.account, talk.contact, talk.sent...)
				}
				w.awaitDealtWith()
				w.checkUpgraded(homeserver, talks, rooms, before)
				w.stop()
				w.start()
				w.awaitState(bridge.StateRunning)
			}
		})
	}
}

// awaitDealtWith waits until nothing is on its way between the store and Matrix.
func (w *world) awaitDealtWith() {
	w.t.Helper()
	w.await("all is dealt with", func() bool {
		for _, account := range []string{"Home", "Work"} {
			if pending, err := w.node.Pending("matrix", key(account)); err != nil || len(pending) > 0 {
				return false
			}
		}
		journal, err := w.node.Journal("matrix", 0, 0)
		return err == nil && len(journal) == 0
	})
}

func (w *world) checkUpgraded(homeserver *bridgetest.Homeserver, talks []upgradeTalk, rooms map[string]id.RoomID, before []id.RoomID) {
	w.t.Helper()
	fresh := slices.DeleteFunc(homeserver.Rooms(), func(room id.RoomID) bool { return slices.Contains(before, room) })
	if !slices.Equal(fresh, []id.RoomID{rooms["Work and Erin"]}) {
		w.t.Errorf("new rooms %v, want that of Erin alone, %s", fresh, rooms["Work and Erin"])
	}
	for _, talk := range talks {
		var shown []string
		reactions := 0
		for _, event := range homeserver.Timeline(rooms[talk.name]) {
			if event.Sender != w.ghost(talk.contact) {
				continue
			}
			switch event.Type {
			case "m.room.message":
				var content struct{ Body string }
				if err := json.Unmarshal(event.Content, &content); err != nil {
					w.t.Fatal(err)
				}
				shown = append(shown, content.Body)
			case "m.reaction":
				reactions++
			}
		}
		if !slices.Equal(shown, talk.shown) || reactions != talk.reactions {
			w.t.Errorf("%s: %q and %d reactions in the room, want %q and %d", talk.name, shown, reactions, talk.shown, talk.reactions)
		}
		outbox, err := w.node.Outbox(talk.account, talk.contact, 0)
		if err != nil {
			w.t.Fatal(err)
		}
		var left []string
		for _, m := range outbox {
			left = append(left, string(m.Payload))
			if m.State != store.StatePending {
				w.t.Errorf("%s: %q is %s", talk.name, m.Payload, m.State)
			}
		}
		if want := talk.sent[talk.delivered:]; !slices.Equal(left, want) {
			w.t.Errorf("%s: the outbox holds %q, want %q", talk.name, left, want)
		}
	}
	if problems, err := w.node.Check(); err != nil || len(problems) > 0 {
		w.t.Errorf("the store: %q, %v", problems, err)
	}
}
