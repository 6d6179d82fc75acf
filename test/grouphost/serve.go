// SPDX-License-Identifier: MPL-2.0

package grouphost

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

const (
	// fillers is how many groups are filled at once: their commits share a sync.
	fillers = 64
	// firstSent is when the first message was sent, in Unix milliseconds; the others
	// follow by a minute.
	firstSent = 1_700_000_000_000
	// stopTime is how long the mediator may take to end.
	stopTime = time.Minute
)

// Serve is the mediator when this process is to be one, and returns true when it has
// ended. In other processes it does nothing and returns false.
func Serve() (bool, error) {
	text := os.Getenv(variable)
	if text == "" {
		return false, nil
	}
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return true, err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	return true, o.serve(ctx)
}

func (o order) serve(ctx context.Context) (err error) {
	s, err := store.Open(store.Options{Dir: filepath.Join(o.Dir, "store")})
	if err != nil {
		return err
	}
	log := slog.New(slog.DiscardHandler)
	// The mediator ends before the store's actor.
	stores, roles := kernel.NewSystem(kernel.Options{Logger: log}), kernel.NewSystem(kernel.Options{Logger: log})
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), stopTime)
		defer cancel()
		err = errors.Join(err, roles.Stop(ctx), stores.Stop(ctx), s.Close())
	}()
	writer, err := stores.Spawn(kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(s) }})
	if err != nil {
		return err
	}
	if err := o.fill(ctx, writer); err != nil {
		return err
	}
	key := identity.NewNodePrivateKey(o.Seed)
	opts := mediatorserver.Options{OpenNetwork: func(identity.NodePrivateKey) (uplink.Network, error) {
		return overlay.Open(overlay.Options{Key: key, Peers: []string{o.Peer}})
	}}
	ref, err := roles.Spawn(kernel.Spec{Name: "mediator", Kind: "mediator", New: func() kernel.Actor {
		return mediatorserver.NewActor(mediatorserver.Deps{
			Key: key, Cell: &uplink.Cell{}, Store: s, Writer: writer, Now: time.Now, Log: log, Strangers: strangerlog.New(log),
		}, opts)
	}})
	if err != nil {
		return err
	}
	if _, err := mediatorserver.Status(ctx, ref); err != nil { // it listens
		return err
	}
	fmt.Fprintln(os.Stdout, ready)
	<-ctx.Done()
	return nil
}

// fill creates the groups.
func (o order) fill(ctx context.Context, writer kernel.Ref) error {
	filling, ctx := errgroup.WithContext(ctx)
	filling.SetLimit(fillers)
	for i := range o.Groups {
		filling.Go(func() error { return o.fillGroup(ctx, writer, i) })
	}
	return filling.Wait()
}

// member is a member of all groups: 0 is their owner, 1 the account.
func (o order) member(n int) identity.PublicKey {
	if n == 1 {
		return o.Account
	}
	var seed [32]byte
	binary.BigEndian.PutUint32(seed[:], uint32(n)) //nolint:gosec // small
	return identity.NewPrivateKey(seed).Public()
}

func (o order) fillGroup(ctx context.Context, writer kernel.Ref, i int) error {
	g := store.MediatorGroup{ID: Chat(i), Owner: o.member(0), Name: fmt.Sprintf("group %d", i)}
	if _, err := store.Do[bool](ctx, writer, store.CreateMediatorGroup{Group: g}); err != nil {
		return err
	}
	mediator := identity.PublicKey(identity.NewNodePrivateKey(o.Seed).Key())
	members := make([]identity.PublicKey, o.Members)
	for n := range members {
		members[n] = o.member(n)
		if n == 0 {
			continue
		}
		change := store.MediatorChange{Mediator: mediator, Group: g.ID, Actor: mediator}
		_, _ = rand.Read(change.Random[:]) // never fails
		if _, err := store.Do[store.MediatorMessage](ctx, writer, store.AddMediatorMember{MediatorChange: change, User: members[n]}); err != nil {
			return err
		}
	}
	key := GroupKey(i)
	for n, member := range members {
		if n == 1 {
			continue // the account's node tells its own
		}
		sealed, err := key.Seal(rand.Reader, group.AppendProfile(nil, peer.Profile{Nickname: fmt.Sprintf("member %d", n), Info: "available"}))
		if err != nil {
			return err
		}
		op := store.UpdateMediatorProfile{Group: g.ID, User: member, Profile: sealed, Time: firstSent / 1000}
		if _, err := store.Do[any](ctx, writer, op); err != nil {
			return err
		}
	}
	for n := range o.Messages {
		sent := int64(firstSent + 60_000*n)
		guid := peer.GUID(i)<<32 + peer.GUID(n+1)
		sealed, err := key.Seal(rand.Reader, group.AppendMessage(nil, peer.Message{
			GUID: guid, SendTime: sent, Type: peer.TypeText, Payload: []byte(Text(i, n)),
		}))
		if err != nil {
			return err
		}
		seconds := sent / 1000
		op := store.SendMediatorMessage{Group: g.ID, Author: members[n%len(members)], GUID: int64(guid), Time: &seconds, Blob: sealed}
		if _, err := store.Do[store.MediatorSent](ctx, writer, op); err != nil {
			return err
		}
	}
	return nil
}
