// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

const (
	// Half of the contacts have sessions that panic, the other half is measured.
	talkersOfAKind = 4
	talkEvery      = 40 * time.Millisecond
	// Slices with and without panics take turns, so that both see the same machine.
	panicSlices = 6 // of each kind
	panicSlice  = 4 * time.Second
	panicEvery  = 500 * time.Millisecond // twice as often as the bar asks for
	// panicRest is left out between two slices: what was ended has to come back.
	panicRest = time.Second
	// panicsOfOne is how often one actor panics at most: the pause before it is started
	// again doubles every time.
	panicsOfOne = 4
)

// panicFigures measure what people notice of the failures of others.
func panicFigures() []figure { return []figure{{"panics-others", measurePanics}} }

// measurePanics has sessions, contacts and the account of some people panic, and the
// resolver, the listener and the bridge. Bar R16: the 99th percentile of how long
// everybody else waits for the acknowledgement of a text may double.
func measurePanics(ctx context.Context) (_ result, err error) {
	storm := &storm{random: mathrand.New(mathrand.NewPCG(1, 1)), of: make(map[string]int)}
	rig, err := newMatrixRig(ctx, func(o *node.Options) { o.BeforeReceive = storm.beforeReceive })
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, rig.close()) }()
	// Those who are measured have an account of their own: the other one panics.
	undisturbed, err := rig.node.CreateAccount(ctx, "undisturbed")
	if err != nil {
		return result{}, err
	}
	var measured, disturbed []*talker
	defer func() {
		for _, t := range slices.Concat(measured, disturbed) {
			err = errors.Join(err, t.close())
		}
	}()
	for range talkersOfAKind {
		for account, list := range map[identity.PublicKey]*[]*talker{undisturbed.ID: &measured, rig.account: &disturbed} {
			t, err := rig.newTalker(ctx, account)
			if err != nil {
				return result{}, err
			}
			*list = append(*list, t)
		}
	}
	storm.account = "account-" + rig.account.String()

	took := make(map[bool][]float64)
	for slice := range 2 * panicSlices {
		panics := slice%2 == 1
		storm.blow(panics)
		var asking sync.WaitGroup
		asked, stop := context.WithCancel(ctx)
		asking.Go(func() { rig.keepAsking(asked) })
		waits, err := talkAll(ctx, measured, disturbed)
		stop()
		asking.Wait()
		storm.blow(false)
		if err != nil {
			return result{}, err
		}
		took[panics] = append(took[panics], waits...)
		select {
		case <-time.After(panicRest):
		case <-ctx.Done():
		}
	}
	happened, kinds := storm.happened()
	if happened < panicSlices || kinds < len(panicKinds)/2 { // a busy machine has fewer
		return result{}, fmt.Errorf("only %d panics, in %d kinds of actors", happened, kinds)
	}
	calm, stormy := percentile(took[false], 0.99), percentile(took[true], 0.99)
	return result{
		ratio:    calm / stormy,
		baseline: "the same without panics, others' 99th percentile",
		detail: fmt.Sprintf("%d panics in %d kinds of actors; others wait %.1f ms for an acknowledgement, %.1f ms without panics (medians %.1f and %.1f; %d and %d texts)",
			happened, kinds, stormy*1e3, calm*1e3, median(took[true])*1e3, median(took[false])*1e3, len(took[true]), len(took[false])),
	}, nil
}

func percentile(values []float64, p float64) float64 {
	slices.Sort(values)
	return values[max(0, int(math.Ceil(p*float64(len(values))))-1)]
}

// panicKinds are the actors that panic, the first by far the most numerous.
var panicKinds = []string{"session", "contact", "account", "resolver", "listener", "matrix"}

// storm makes actors panic, one at a time.
type storm struct {
	account string // whose actors panic; set before the first panic

	mu      sync.Mutex
	blowing bool
	random  *mathrand.Rand
	next    time.Time
	chosen  string
	of      map[string]int // panics by the actor's path
}

func (s *storm) blow(on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blowing, s.next = on, time.Now()
}

// happened returns how many panics there were, and in how many kinds of actors.
func (s *storm) happened() (all, kinds int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	seen := make(map[string]bool)
	for actor, n := range s.of {
		all += n
		seen[s.kind(actor)] = true
	}
	return all, len(seen)
}

func (s *storm) beforeReceive(actor kernel.Ref, _ any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := time.Now()
	if !s.blowing || now.Before(s.next) {
		return
	}
	if s.chosen == "" || now.Sub(s.next) > panicEvery { // it has nothing to do, or has had its share
		s.chosen, s.next = panicKinds[s.random.IntN(len(panicKinds))], now
	}
	if s.kind(actor.Path()) != s.chosen || s.of[actor.Path()] >= panicsOfOne {
		return
	}
	s.of[actor.Path()]++
	s.chosen, s.next = "", now.Add(panicEvery)
	panic("injected")
}

// kind tells what an actor is by its path; "" is one that is left in peace.
func (s *storm) kind(actor string) string {
	name := path.Base(actor)
	switch {
	case strings.Contains(actor, "/account-") && !strings.Contains(actor, s.account):
		return ""
	case strings.HasPrefix(name, "session-"):
		return "session"
	case name == s.account:
		return "account"
	case len(name) == 64:
		return "contact"
	}
	return name
}

// talker is a phone on a Yggdrasil node of its own that writes to the node.
type talker struct {
	phone   *phone.Phone
	network *overlay.Network
	owner   phone.Key
}

// newTalker makes a contact of an account; its first text has arrived.
func (r *nodeRig) newTalker(ctx context.Context, account identity.PublicKey) (_ *talker, err error) {
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		return nil, err
	}
	var seed [32]byte
	_, _ = rand.Read(seed[:]) // never fails
	t := &talker{phone: phone.New(phone.Options{Name: "Bob", Seed: &seed}), owner: phone.Key(account)}
	if _, err := r.node.AddContact(ctx, account, identity.Link{Key: identity.PublicKey(t.phone.Key()), Name: "Bob"}); err != nil {
		return nil, err
	}
	if t.network, err = overlay.Open(overlay.Options{Key: key, Peers: r.listening}); err != nil {
		return nil, err
	}
	t.phone.AddContact(t.owner)
	t.phone.Found(t.owner, r.node.Key())
	if err = t.phone.Start(t.network.Stream()); err == nil {
		_, err = t.say(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	return t, nil
}

// say writes a text and returns how many seconds later it was acknowledged. The app
// would let a minute pass before it dials again.
func (t *talker) say(ctx context.Context) (float64, error) {
	ctx, cancel := context.WithTimeout(ctx, matrixPatience)
	defer cancel()
	begun := time.Now()
	t.phone.Write(t.owner, "how long does this take?")
	acknowledged := func() bool { return len(t.phone.Waiting(t.owner)) == 0 }
	for {
		attempt, stop := context.WithTimeout(ctx, panicEvery/2)
		err := t.phone.Await(attempt, acknowledged)
		stop()
		if err == nil {
			return time.Since(begun).Seconds(), nil
		}
		if ctx.Err() != nil {
			return 0, fmt.Errorf("wait for an acknowledgement: %w", err)
		}
		if t.phone.Session(t.owner) == nil {
			_, _ = t.phone.Dial(ctx, t.owner) // if it fails there is a next time
		}
	}
}

func (t *talker) close() error {
	t.phone.Stop()
	return t.network.Close()
}

// keepAsking asks the resolver and the bridge how they are: they hear little of
// sessions that stand.
func (r *matrixRig) keepAsking(ctx context.Context) {
	tick := time.NewTicker(panicEvery / 4)
	defer tick.Stop()
	for ctx.Err() == nil {
		attempt, stop := context.WithTimeout(ctx, panicEvery)
		_, _ = r.node.Status(attempt) // they may be about to start again
		if part, err := r.node.Part(attempt, "matrix"); err == nil {
			_, _ = kernel.Ask[bridge.Status](attempt, part, bridge.StatusRequest{})
		}
		stop()
		<-tick.C
	}
}

// talkAll has everybody talk for a slice and returns how long those who are measured
// have waited, each time.
func talkAll(ctx context.Context, measured, disturbed []*talker) ([]float64, error) {
	over := time.Now().Add(panicSlice)
	errs := make([]error, len(measured)+len(disturbed))
	waits := make([][]float64, len(errs))
	var talking sync.WaitGroup
	for i, t := range slices.Concat(measured, disturbed) {
		talking.Go(func() {
			tick := time.NewTicker(talkEvery)
			defer tick.Stop()
			until := ctx
			if i >= len(measured) { // may wait for long: what they talk to panics
				var stop context.CancelFunc
				until, stop = context.WithDeadline(ctx, over)
				defer stop()
			}
			for time.Now().Before(over) {
				wait, err := t.say(until)
				switch {
				case err == nil:
				case i >= len(measured) && ctx.Err() == nil:
					return
				default:
					errs[i] = err
					return
				}
				waits[i] = append(waits[i], wait)
				<-tick.C
			}
		})
	}
	talking.Wait()
	return slices.Concat(waits[:len(measured)]...), errors.Join(errs...)
}
