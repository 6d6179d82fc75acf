// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"
	"maunium.net/go/mautrix"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// backlogTexts wait for the bridge in all rooms together, and bareTexts are sent by
	// somebody in Matrix.
	backlogTexts = 1000
	bareTexts    = 400
	// manyRooms is how many rooms the figure with many has.
	manyRooms = 100
)

// backlogFigures measure how fast the bridge brings into rooms what has waited, which is
// what a homeserver sees that was away.
func backlogFigures() []figure {
	var one backlog // the processor time is that of the same run
	return []figure{
		{"bridge-backlog", func(ctx context.Context) (r result, err error) {
			one, err = measureBacklog(ctx, 1)
			return one.speed(), err
		}},
		{"bridge-processor", func(ctx context.Context) (result, error) {
			var err error
			if one.texts == 0 {
				one, err = measureBacklog(ctx, 1)
			}
			return one.processor(), err
		}},
		{"bridge-rooms", func(ctx context.Context) (result, error) {
			many, err := measureBacklog(ctx, manyRooms)
			return many.speed(), err
		}},
	}
}

// backlog is what a backlog cost, and the same number of texts sent in Matrix.
type backlog struct {
	texts, rooms     int
	took, bare       time.Duration // from the first to the last
	used, usedByBare time.Duration // processor time
}

func (b backlog) speed() result {
	return result{
		ratio:    b.bare.Seconds() / b.took.Seconds(),
		baseline: "a loop of sends at the same homeserver",
		detail: fmt.Sprintf("%d texts in %d rooms, %.0f a second; the loop %.0f", b.texts, b.rooms,
			float64(b.texts)/b.took.Seconds(), float64(b.texts)/b.bare.Seconds()),
	}
}

func (b backlog) processor() result {
	per := func(d time.Duration) float64 { return d.Seconds() * 1e3 / float64(b.texts) }
	return result{
		ratio:    b.usedByBare.Seconds() / b.used.Seconds(),
		baseline: "the processor time of a loop of sends at the same homeserver",
		detail:   fmt.Sprintf("%.2f ms of processor time for a text, the homeserver's share with it; the loop %.2f ms", per(b.used), per(b.usedByBare)),
	}
}

// measureBacklog stores texts while the node is down, starts it, and waits until they are
// in their rooms, which are there before.
func measureBacklog(ctx context.Context, rooms int) (_ backlog, err error) {
	b := backlog{texts: backlogTexts / rooms * rooms, rooms: rooms}
	rig, err := newBridgeRig(ctx)
	if err != nil {
		return b, err
	}
	defer func() { err = errors.Join(err, rig.close()) }()
	var contacts []identity.PublicKey
	for range rooms {
		contacts = append(contacts, identity.PublicKey(randomIdentity().Key()))
	}
	if err := rig.catchUp(ctx, contacts, 1); err != nil {
		return b, fmt.Errorf("make the rooms: %w", err)
	}
	before := len(rig.homeserver.Sends())
	b.used, err = processorTime(func() error { return rig.catchUp(ctx, contacts, b.texts/rooms) })
	if err != nil {
		return b, err
	}
	sends := rig.homeserver.Sends()[before:]
	b.took = sends[len(sends)-1].At.Sub(sends[0].At)

	var begun time.Time
	bare, err := processorTime(func() error {
		room, err := rig.alice.Matrix.CreateRoom(ctx, &mautrix.ReqCreateRoom{})
		begun = time.Now()
		for i := 0; i < bareTexts && err == nil; i++ {
			_, err = rig.alice.SendText(ctx, room.RoomID, backlogText(i))
		}
		return err
	})
	b.bare = time.Since(begun) * time.Duration(b.texts) / bareTexts
	b.usedByBare = bare * time.Duration(b.texts) / bareTexts
	return b, err
}

// catchUp stores n texts of each contact while the node is down, and waits until all are in
// Matrix.
func (r *arrivalRig) catchUp(ctx context.Context, contacts []identity.PublicKey, n int) error {
	want := r.texts() + n*len(contacts)
	err := r.restart(ctx, func() error { return r.accept(ctx, contacts, n) })
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 10*matrixPatience)
	defer cancel()
	// Counting the texts costs more than counting all that was sent.
	atLeast := len(r.homeserver.Sends()) + want - r.texts()
	if err := r.homeserver.Wait(ctx, func() bool { return len(r.homeserver.Sends()) >= atLeast }); err != nil {
		return fmt.Errorf("%d of %d texts have arrived: %w", r.texts(), want, err)
	}
	return r.homeserver.Wait(ctx, func() bool { return r.texts() >= want })
}

// accept stores texts of contacts, in turn, in the store of the node, which is down.
func (r *arrivalRig) accept(ctx context.Context, contacts []identity.PublicKey, n int) error {
	return actorstest.WriteStore(filepath.Join(r.nodeRig.dir, "store"), func(ref kernel.Ref, _ *store.Store) error {
		return r.acceptAll(ctx, ref, contacts, n)
	})
}

// acceptAll is accept with the actor of the store.
func (r *arrivalRig) acceptAll(ctx context.Context, ref kernel.Ref, contacts []identity.PublicKey, n int) error {
	for _, contact := range contacts {
		c := store.Contact{Account: r.account, ID: contact, State: store.ContactAccepted, Nickname: contact.Short()}
		if _, err := store.Do[store.Added](ctx, ref, store.AddContact{Contact: c}); err != nil {
			return err
		}
	}
	var group errgroup.Group
	for _, contact := range contacts {
		group.Go(func() error {
			for i := range n {
				op := store.AcceptMessage{
					Account: r.account, Conversation: store.ContactConversation(contact), GUID: rand.Int64(),
					SendTime: store.MillisOf(time.Now()), Payload: []byte(backlogText(i)),
				}
				if _, err := store.Do[store.Accepted](ctx, ref, op); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func backlogText(i int) string { return fmt.Sprintf("text %d: %s", i, strings.Repeat("a word ", 30)) }
