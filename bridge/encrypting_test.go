// SPDX-License-Identifier: MPL-2.0

//go:build goolm

package bridge_test

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/crypto"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

// encrypting is a person with a client that encrypts, one more device of them.
type encrypting struct {
	t      *testing.T
	matrix *mautrix.Client
	mach   *crypto.OlmMachine

	mu   sync.Mutex
	seen []*event.Event // decrypted as far as possible
	late []*event.Event // without keys yet
}

// encryptingPerson logs in and syncs until the test ends.
func (w *world) encryptingPerson(url, name string) *encrypting {
	w.t.Helper()
	client, err := mautrix.NewClient(url, "", "")
	if err != nil {
		w.t.Fatal(err)
	}
	transport := &http.Transport{}
	client.Client, client.Log = &http.Client{Transport: transport, Timeout: patience}, zerolog.Nop()
	_, err = client.Login(soon(w.t), &mautrix.ReqLogin{
		Type:             mautrix.AuthTypePassword,
		Identifier:       mautrix.UserIdentifier{Type: mautrix.IdentifierTypeUser, User: name},
		Password:         "long-secret",
		StoreCredentials: true,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	states := mautrix.NewMemoryStateStore()
	client.StateStore = states
	log := zerolog.Nop()
	e := &encrypting{t: w.t, matrix: client, mach: crypto.NewOlmMachine(client, &log, crypto.NewMemoryStore(nil), states.(crypto.StateStore))}
	if err := e.mach.Load(soon(w.t)); err != nil {
		w.t.Fatal(err)
	}
	if err := e.mach.ShareKeys(soon(w.t), -1); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var done sync.WaitGroup
	done.Go(func() { e.sync(ctx) })
	w.t.Cleanup(func() {
		cancel()
		done.Wait()
		transport.CloseIdleConnections()
	})
	return e
}

func (e *encrypting) sync(ctx context.Context) {
	for since := ""; ctx.Err() == nil; {
		resp, err := e.matrix.FullSyncRequest(ctx, mautrix.ReqSync{Timeout: 10_000, Since: since, SetPresence: event.PresenceOnline})
		if err != nil {
			continue
		}
		e.mach.ProcessSyncResponse(ctx, resp, since)
		late := e.late
		e.late = nil
		for _, evt := range late {
			e.take(ctx, evt)
		}
		for room, joined := range resp.Rooms.Join {
			for _, batch := range [][]*event.Event{joined.State.Events, joined.Timeline.Events} {
				for _, evt := range batch {
					evt.RoomID = room
					evt.Type.Class = event.MessageEventType
					if evt.StateKey != nil {
						evt.Type.Class = event.StateEventType
					}
					_ = evt.Content.ParseRaw(evt.Type)
					if evt.StateKey != nil {
						mautrix.UpdateStateStore(ctx, e.matrix.StateStore, evt)
						e.mach.HandleMemberEvent(ctx, evt)
					}
					e.take(ctx, evt)
				}
			}
		}
		for room := range resp.Rooms.Invite {
			_, _ = e.matrix.JoinRoomByID(ctx, room)
		}
		since = resp.NextBatch
	}
}

func (e *encrypting) take(ctx context.Context, evt *event.Event) {
	if evt.Type == event.EventEncrypted {
		decrypted, err := e.mach.DecryptMegolmEvent(ctx, evt)
		if errors.Is(err, crypto.ErrNoSessionFound) {
			e.late = append(e.late, evt)
			return
		}
		if err == nil {
			evt = decrypted
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, evt)
}

// find returns the first event that matches.
func (e *encrypting) find(match func(*event.Event) bool) *event.Event {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, evt := range e.seen {
		if match(evt) {
			return evt
		}
	}
	return nil
}

// texts are what somebody has written in a room, and was encrypted.
func (e *encrypting) texts(room id.RoomID, sender id.UserID) []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	var texts []string
	for _, evt := range e.seen {
		if evt.RoomID == room && evt.Sender == sender && evt.Type == event.EventMessage && evt.Mautrix.WasEncrypted {
			texts = append(texts, evt.Content.AsMessage().Body)
		}
	}
	return texts
}

// encrypt encrypts an event; with share, those who are to read it get the keys.
func (e *encrypting) encrypt(room id.RoomID, text string, with ...id.UserID) *event.EncryptedEventContent {
	e.t.Helper()
	content := &event.Content{Parsed: &event.MessageEventContent{MsgType: event.MsgText, Body: text}}
	encrypted, err := e.mach.EncryptMegolmEvent(soon(e.t), room, event.EventMessage, content)
	if crypto.IsShareError(err) {
		if err = e.mach.ShareGroupSession(soon(e.t), room, with); err == nil {
			encrypted, err = e.mach.EncryptMegolmEvent(soon(e.t), room, event.EventMessage, content)
		}
	}
	if err != nil {
		e.t.Fatal(err)
	}
	return encrypted
}

func (e *encrypting) write(room id.RoomID, text string, with ...id.UserID) id.EventID {
	e.t.Helper()
	return e.send(room, e.encrypt(room, text, with...))
}

func (e *encrypting) send(room id.RoomID, content *event.EncryptedEventContent) id.EventID {
	e.t.Helper()
	sent, err := e.matrix.SendMessageEvent(soon(e.t), room, event.EventEncrypted, content)
	if err != nil {
		e.t.Fatal(err)
	}
	return sent.EventID
}

// keys returns the keys of what is written in a room now.
func (e *encrypting) keys(room id.RoomID) event.Content {
	e.t.Helper()
	session, err := e.mach.CryptoStore.GetOutboundGroupSession(soon(e.t), room)
	if err != nil || session == nil {
		e.t.Fatal("no keys", err)
	}
	return session.ShareContent()
}

// giveKeys gives somebody's devices keys.
func (e *encrypting) giveKeys(keys event.Content, to id.UserID) {
	e.t.Helper()
	devices, err := e.mach.FetchKeys(soon(e.t), []id.UserID{to}, true)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, dev := range devices[to] {
		if err := e.mach.SendEncryptedToDevice(soon(e.t), dev, event.ToDeviceRoomKey, keys); err != nil {
			e.t.Fatal(err)
		}
	}
}

// waitFor returns an event when it has come.
func (e *encrypting) waitFor(what string, match func(*event.Event) bool) *event.Event {
	e.t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		if evt := e.find(match); evt != nil {
			return evt
		}
		if time.Now().After(deadline) {
			e.t.Fatalf("waited too long: %s", what)
		}
	}
}
