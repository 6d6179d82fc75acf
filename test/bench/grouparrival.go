// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/fakemediator"
)

// groupTexts are written in each of a group and a direct chat, in turn, groupEvery apart.
const (
	groupTexts = 150
	groupEvery = 20 * time.Millisecond
)

// measureGroupArrival compares the time from a text's way out of a phone's socket until it
// arrives at the homeserver with that from a mediator's push of a group's message. The
// homeserver takes no time itself. A push is to be in the room within 1.25 of the time of a
// direct text.
func measureGroupArrival(ctx context.Context) (_ result, err error) {
	rig, err := newArrivalRig(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, rig.close()) }()
	group, err := rig.newGroup(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, group.mediator.Close()) }()
	direct, pushed := make(map[string]time.Time, groupTexts), make(map[string]time.Time, groupTexts)
	tick := time.NewTicker(groupEvery)
	defer tick.Stop()
	for i := range 2 * groupTexts {
		<-tick.C
		said := fmt.Sprintf("text %d", i)
		if i%2 == 0 {
			direct[said] = time.Now()
			rig.talkers[0].phone.Write(rig.talkers[0].owner, said)
		} else {
			pushed[said] = time.Now()
			group.say(said)
		}
	}
	var chat, room []float64
	all := func() bool {
		chat, room = rig.arrivals(direct), rig.arrivals(pushed)
		return len(chat) == len(direct) && len(room) == len(pushed)
	}
	waiting, cancel := context.WithTimeout(ctx, matrixPatience)
	defer cancel()
	if err := rig.homeserver.Wait(waiting, all); err != nil {
		return result{}, fmt.Errorf("%d of %d direct texts and %d of %d of the group have arrived: %w", len(chat), len(direct), len(room), len(pushed), err)
	}
	a, b := median(chat), median(room)
	return result{
		ratio:    a / b,
		baseline: "a direct chat's text",
		detail:   fmt.Sprintf("from the push of a mediator %.1f ms, from a phone %.1f ms", b*1e3, a*1e3),
	}, nil
}

// benchGroup is a group at a mediator without a disk, in which another member writes.
type benchGroup struct {
	mediator *fakemediator.Mediator
	chat     *fakemediator.Chat
	secret   fakemediator.Secret
	member   identity.PublicKey
	guid     int64
}

// say stores and pushes a message of the other member.
func (g *benchGroup) say(text string) {
	g.guid++
	g.mediator.Say(g.chat, g.member, g.guid, g.secret.Text(g.guid, text))
}

// mediatorHost is the node of a mediator.
type mediatorHost struct{ *overlay.Network }

func (h mediatorHost) Listen(port uint16) (overlay.Listener, error) { return h.Stream().Listen(port) }

// newGroup makes the account a member of a group. The first message of it has arrived.
func (r *arrivalRig) newGroup(ctx context.Context) (_ *benchGroup, err error) {
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	who, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	network, err := overlay.Open(overlay.Options{Key: key, Peers: r.listening})
	if err != nil {
		return nil, err
	}
	g := &benchGroup{member: who.Public(), secret: fakemediator.Secret{1}}
	if g.mediator, err = fakemediator.Start(mediatorHost{network}); err != nil {
		return nil, errors.Join(err, network.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, g.mediator.Close())
		}
	}()
	g.chat = g.mediator.AddChat("bench", g.member, r.account)
	_, err = r.node.AddGroup(ctx, node.KnownGroup{
		Account: r.account, Mediator: g.mediator.Key(), Chat: g.chat.ID, Key: g.secret, Name: "bench",
	})
	if err != nil {
		return nil, err
	}
	const first = "the first message of the group"
	begun := map[string]time.Time{first: time.Now()}
	g.say(first)
	waiting, cancel := context.WithTimeout(ctx, matrixPatience)
	defer cancel()
	if err := r.homeserver.Wait(waiting, func() bool { return len(r.arrivals(begun)) == 1 }); err != nil {
		return nil, fmt.Errorf("wait for the room of the group: %w", err)
	}
	return g, nil
}
