// SPDX-License-Identifier: MPL-2.0

package demo

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/phone"
)

// oldPhone is an app of gen1 or 2 on a device of its own. It is the second
// implementation of tests, so it shares nothing with Alice's node but the overlay.
type oldPhone struct {
	name     string
	kind     overlay.Kind
	port     uint16
	identity phone.Identity
	device   *overlay.Network
}

// startOldPhones puts the old phones into the network, early: it takes a while until
// a network has found all ways to who has just come.
func (w *world) startOldPhones() error {
	for _, p := range []*oldPhone{
		{name: "Carol", kind: overlay.KindTCP, port: legacy.Port},
		{name: "Dave", kind: overlay.KindQUIC, port: peer.Port},
	} {
		key, err := identity.GenerateNodePrivateKey(rand.Reader)
		if err != nil {
			return err
		}
		p.identity = phone.IdentityOf(p.name)
		if p.device, err = overlay.Open(overlay.Options{Key: key, Peers: []string{w.relayURI()}}); err != nil {
			return fmt.Errorf("start the phone of %s: %w", p.name, err)
		}
		w.oldPhones = append(w.oldPhones, p)
		if err := p.device.Enable(p.kind); err != nil {
			return fmt.Errorf("start the phone of %s: %w", p.name, err)
		}
	}
	return nil
}

// threeGenerations lets the old phones and Alice's Matrix user talk, and finds their
// conversations beside the one with Bob, whose node is of gen3.
func (w *world) threeGenerations(ctx context.Context) (string, error) {
	rooms := []id.RoomID{w.room}
	for _, p := range w.oldPhones {
		room, err := w.talkWith(ctx, p)
		if err != nil {
			return "", fmt.Errorf("%s, over %s: %w", p.name, p.kind, err)
		}
		rooms = append(rooms, room)
	}
	space, err := w.spaceOf(ctx, rooms)
	return fmt.Sprintf("Carol over tcp, Dave over quic, Bob over stream: %d rooms in %s", len(rooms), space), err
}

// talkWith carries a text from the phone to Matrix and one back, and returns the
// room they are in.
func (w *world) talkWith(ctx context.Context, p *oldPhone) (id.RoomID, error) {
	own := p.identity.Key()
	if _, err := w.alice.Client.AddContact(ctx, "-", own.Link(p.name)); err != nil {
		return "", err
	}
	conn, err := w.reachAlice(ctx, p)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() })
	defer stop()
	alice, err := identity.ParsePublicKey(w.alice.Account.ID)
	if err != nil {
		return "", err
	}
	app := phone.NewOld(conn, p.identity, phone.Key(alice))
	if err := app.Dial(); err != nil {
		return "", fmt.Errorf("authenticate: %w", err)
	}

	const guid = 7
	text := p.name + " writes with an old app."
	if err := app.Say(fmt.Sprintf(`"guid":%d,"sendTime":%d,"type":0`, guid, time.Now().UnixMilli()), []byte(text), 16+int64(len(text))); err != nil {
		return "", err
	}
	if ok, err := app.Expect(phone.OldOK); err != nil || ok.ID != guid {
		return "", errors.Join(err, fmt.Errorf("acknowledged is %d", ok.ID))
	}
	shown, err := w.person.WaitText(ctx, "", "", text)
	if err != nil {
		return "", err
	}

	answer := "An answer for " + p.name
	if err := w.write(ctx, shown.RoomID, answer); err != nil {
		return "", err
	}
	message, err := app.Expect(phone.OldMessage)
	if err != nil {
		return "", err
	}
	var header struct{ GUID int64 }
	if err := json.Unmarshal([]byte(message.Header), &header); err != nil {
		return "", fmt.Errorf("header of the answer: %w", err)
	}
	if string(message.Data) != answer {
		return "", fmt.Errorf("the phone reads %.64q", message.Data)
	}
	return shown.RoomID, app.OK(header.GUID)
}

// reachAlice dials Alice's node until it is there: its ways may be looked for first.
func (w *world) reachAlice(ctx context.Context, p *oldPhone) (conn overlay.Conn, err error) {
	status, err := w.alice.Client.Status(ctx)
	if err != nil {
		return nil, err
	}
	node, err := identity.ParseNodeKey(status.Node)
	if err != nil {
		return nil, err
	}
	carrier, _ := p.device.CarrierOf(p.kind)
	err = until(ctx, "the phone reaches Alice's node", func() (bool, error) {
		var problem error
		conn, problem = carrier.Dial(ctx, node, p.port)
		return problem == nil, nil
	})
	return conn, err
}

// spaceOf returns the one space that has all the rooms.
func (w *world) spaceOf(ctx context.Context, rooms []id.RoomID) (space id.RoomID, err error) {
	for _, room := range rooms {
		child, err := w.person.Wait(ctx, func(e *event.Event) bool {
			return e.Type == event.StateSpaceChild && e.GetStateKey() == string(room) && (space == "" || e.RoomID == space)
		})
		if err != nil {
			return "", fmt.Errorf("the space of room %s: %w", room, err)
		}
		space = child.RoomID
	}
	return space, nil
}
