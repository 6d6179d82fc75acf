// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"maunium.net/go/mautrix/event"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/bridge/bridgetest"
)

const (
	// A hundred texts a second come in, of arrivalPhones in turn, for ten seconds.
	arrivalPhones   = 5
	arrivalMessages = 1000
	arrivalEvery    = 10 * time.Millisecond
	// arrivalBar is within what 99 of 100 texts should have arrived.
	arrivalBar = 50 * time.Millisecond

	arrivalDomain = "mimir.test"
	// ghostPrefix begins the names of those who stand for phones in Matrix.
	ghostPrefix = "@mimir_"
)

// measureArrival takes the time from a phone's socket until the text arrives at the
// homeserver, which is none that takes time itself. Bar R24: half of the texts within
// 10 ms, 99 of 100 within 50 ms, on an idle machine.
func measureArrival(ctx context.Context) (_ result, err error) {
	rig, err := newArrivalRig(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, rig.close()) }()

	written := make(map[string]time.Time, arrivalMessages)
	tick := time.NewTicker(arrivalEvery)
	defer tick.Stop()
	for i := range arrivalMessages {
		<-tick.C
		said := fmt.Sprintf("text %d", i)
		t := rig.talkers[i%len(rig.talkers)]
		written[said] = time.Now()
		t.phone.Write(t.owner, said)
	}
	var took []float64
	all := func() bool {
		took = rig.arrivals(written)
		return len(took) == len(written)
	}
	waiting, cancel := context.WithTimeout(ctx, matrixPatience)
	defer cancel()
	if err := rig.homeserver.Wait(waiting, all); err != nil {
		return result{}, fmt.Errorf("%d of %d texts have arrived: %w", len(took), len(written), err)
	}
	late := percentile(took, 0.99)
	return result{
		ratio:    arrivalBar.Seconds() / late,
		baseline: "the 50 ms within which 99 of 100 texts should be at the homeserver",
		detail:   fmt.Sprintf("at 100 texts per second the median is %.1f ms, the 99th percentile %.1f ms", median(took)*1e3, late*1e3),
	}, nil
}

// arrivalRig is a node with a bridge to a homeserver in memory, and phones.
type arrivalRig struct {
	*nodeRig
	dir        string
	homeserver *bridgetest.Homeserver
	alice      *bridgetest.Client
	talkers    []*talker
}

func newArrivalRig(ctx context.Context) (_ *arrivalRig, err error) {
	rig, err := newBridgeRig(ctx)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, rig.close())
		}
	}()
	for range arrivalPhones {
		t, err := rig.newTalker(ctx, rig.account)
		if err != nil {
			return nil, err
		}
		rig.talkers = append(rig.talkers, t)
	}
	waiting, cancel := context.WithTimeout(ctx, matrixPatience)
	defer cancel()
	err = rig.homeserver.Wait(waiting, func() bool { return rig.texts() == arrivalPhones })
	if err != nil {
		return nil, fmt.Errorf("wait for the rooms of the phones: %w", err)
	}
	return rig, nil
}

// newBridgeRig has no phones yet.
func newBridgeRig(ctx context.Context) (_ *arrivalRig, err error) {
	dir, err := os.MkdirTemp("", "mimird-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a place for the bridge: %w", err)
	}
	rig := &arrivalRig{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, rig.close())
		}
	}()
	part, at, registrations, err := makeBridge(ctx, dir, arrivalDomain)
	if err != nil {
		return nil, err
	}
	options := bridgetest.Options{ServerName: arrivalDomain, Address: at.homeserver}
	for _, path := range registrations {
		content, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		service, err := bridgetest.ParseService(content)
		if err != nil {
			return nil, err
		}
		options.Services = append(options.Services, service)
	}
	if rig.homeserver, err = bridgetest.NewHomeserver(options); err != nil {
		return nil, err
	}
	rig.homeserver.CreateUser("alice", matrixPassword)
	if rig.alice, err = bridgetest.Login(ctx, rig.homeserver.URL(), "alice", matrixPassword); err != nil {
		return nil, err
	}
	if rig.nodeRig, err = newNodeRig(ctx, func(o *node.Options) { o.Parts = append(o.Parts, part) }); err != nil {
		return nil, err
	}
	return rig, login(ctx, rig.alice, arrivalDomain)
}

// texts counts the texts that have arrived from phones. The bridge's bot writes some
// of its own.
func (r *arrivalRig) texts() (n int) {
	for _, send := range r.homeserver.Sends() {
		if strings.HasPrefix(send.Sender.String(), ghostPrefix) && text(send) != "" {
			n++
		}
	}
	return n
}

// arrivals returns how many seconds each text took that has arrived.
func (r *arrivalRig) arrivals(written map[string]time.Time) (took []float64) {
	for _, send := range r.homeserver.Sends() {
		if at, ok := written[text(send)]; ok {
			took = append(took, send.At.Sub(at).Seconds())
		}
	}
	return took
}

// text returns the text that was sent, or nothing.
func text(send bridgetest.Send) string {
	var content event.MessageEventContent
	if send.Type != event.EventMessage.Type || json.Unmarshal(send.Content, &content) != nil || content.MsgType != event.MsgText {
		return ""
	}
	return content.Body
}

func (r *arrivalRig) close() error {
	var errs []error
	for _, t := range r.talkers {
		errs = append(errs, t.close())
	}
	if r.alice != nil {
		r.alice.Close()
	}
	if r.nodeRig != nil {
		errs = append(errs, r.nodeRig.close())
	}
	if r.homeserver != nil {
		r.homeserver.Close()
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}
