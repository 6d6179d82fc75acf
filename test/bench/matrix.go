// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	matrixconfig "github.com/mimird/mimird/bridge/config"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/dendrite"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/process"
)

const (
	// latencyMessages are sent each way, messageEvery apart: 10 per second, of either
	// kind in turn.
	latencyMessages = 60
	messageEvery    = 50 * time.Millisecond
	// throughputMessages are sent at once, of either kind in turn, throughputRounds
	// times. Many short rounds: what else the machine does then meets both kinds.
	throughputMessages = 50
	throughputRounds   = 15

	matrixPassword = "bench-password"
	matrixPatience = time.Minute
)

// matrixFigures measure what the bridge adds to a homeserver.
func matrixFigures() []figure {
	return []figure{
		{"matrix-latency", measureLatency},
		{"matrix-throughput", measureThroughput},
		{"matrix-arrival", measureArrival},
		{"group-arrival", measureGroupArrival},
	}
}

// measureThroughput compares how fast a burst of a phone's messages comes out of a
// Matrix client with how fast the same client sees a burst of somebody who writes
// in Matrix, one message after the other as a conversation is.
func measureThroughput(ctx context.Context) (_ result, err error) {
	rig, err := newMatrixRig(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, rig.close()) }()
	var ours, bare, ratios []float64
	for round := range throughputRounds {
		burst := func(who string, send func(text string) error) (perSecond float64, err error) {
			begun, last := time.Now(), ""
			for i := range throughputMessages {
				last = fmt.Sprintf("%s %d of round %d", who, i, round)
				if err := send(last); err != nil {
					return 0, err
				}
			}
			err = rig.wait(ctx, "", last)
			return throughputMessages / time.Since(begun).Seconds(), err
		}
		bridged, err := burst("phone", func(text string) error {
			rig.phone.Write(phone.Key(rig.account), text)
			return nil
		})
		if err != nil {
			return result{}, err
		}
		direct, err := burst("carol", func(text string) error {
			_, err := rig.carol.SendText(ctx, rig.room, text)
			return err
		})
		if err != nil {
			return result{}, err
		}
		ours, bare, ratios = append(ours, bridged), append(bare, direct), append(ratios, bridged/direct)
	}
	bridged, direct := median(ours), median(bare)
	return result{
		ratio:    median(ratios),
		baseline: "messages sent in the same homeserver, one after the other",
		detail:   fmt.Sprintf("from the phone %.0f messages per second, from a Matrix client %.0f", bridged, direct),
	}, nil
}

// measureLatency compares the way of a message from a phone's socket through the
// node, its store and the bridge into a Matrix client, with what the same client
// sees of somebody who writes in Matrix.
func measureLatency(ctx context.Context) (_ result, err error) {
	rig, err := newMatrixRig(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, rig.close()) }()
	var ours, bare []float64
	tick := time.NewTicker(messageEvery)
	defer tick.Stop()
	for i := range 2 * latencyMessages {
		<-tick.C
		text := fmt.Sprintf("message %d", i)
		begun := time.Now()
		if i%2 == 0 {
			rig.phone.Write(phone.Key(rig.account), text)
			err = rig.wait(ctx, "", text)
			ours = append(ours, time.Since(begun).Seconds())
		} else {
			var took float64
			took, err = rig.bareSend(ctx, text)
			bare = append(bare, took)
		}
		if err != nil {
			return result{}, err
		}
	}
	bridged, sent := median(ours), median(bare)
	return result{
		ratio:    sent / bridged,
		baseline: "a message sent in the same homeserver",
		detail:   fmt.Sprintf("from the phone %.1f ms, from a Matrix client %.1f ms", bridged*1e3, sent*1e3),
	}, nil
}

// bareSend has carol write, and returns how many seconds later alice sees it, which
// may be before carol's own request is answered.
func (r *matrixRig) bareSend(ctx context.Context, text string) (float64, error) {
	sent := make(chan error, 1)
	begun := time.Now()
	go func() {
		_, err := r.carol.SendText(ctx, r.room, text)
		sent <- err
	}()
	err := r.wait(ctx, r.room, text)
	took := time.Since(begun).Seconds()
	return took, errors.Join(err, <-sent)
}

// matrixRig is a node with a bridge, a phone that has a session with it, a Dendrite,
// and two people there: alice, who uses the bridge, and carol, who writes to her.
type matrixRig struct {
	*nodeRig
	dir          string
	phone        *phone.Phone
	server       *dendrite.Server
	alice, carol *bridgetest.Client
	room         id.RoomID // of alice and carol
}

func newMatrixRig(ctx context.Context, change ...func(*node.Options)) (_ *matrixRig, err error) {
	dir, err := os.MkdirTemp("", "mimird-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a place for the homeserver: %w", err)
	}
	rig := &matrixRig{dir: dir}
	defer func() {
		if err != nil {
			err = errors.Join(err, rig.close())
		}
	}()
	part, err := rig.startHomeserver(ctx)
	if err != nil {
		return nil, err
	}
	change = append(change, func(o *node.Options) { o.Parts = append(o.Parts, part) })
	if rig.nodeRig, err = newNodeRig(ctx, change...); err != nil {
		return nil, err
	}
	for _, p := range []struct {
		name   string
		client **bridgetest.Client
	}{{"alice", &rig.alice}, {"carol", &rig.carol}} {
		if err := rig.server.CreateUser(ctx, p.name, matrixPassword, false); err != nil {
			return nil, err
		}
		if *p.client, err = bridgetest.Login(ctx, rig.server.URL(), p.name, matrixPassword); err != nil {
			return nil, err
		}
	}
	if rig.room, err = rig.carol.OpenDirect(ctx, rig.alice.UserID()); err != nil {
		return nil, err
	}
	if err := login(ctx, rig.alice, rig.server.ServerName()); err != nil {
		return nil, err
	}
	return rig, rig.startPhone(ctx)
}

// startHomeserver starts Dendrite, and returns the bridge that it knows.
func (r *matrixRig) startHomeserver(ctx context.Context) (node.Part, error) {
	part, addresses, registrations, err := makeBridge(ctx, r.dir, dendrite.DefaultServerName)
	if err != nil {
		return node.Part{}, err
	}
	r.server, err = dendrite.Start(ctx, dendrite.Options{
		Dir: filepath.Join(r.dir, "dendrite"), Address: addresses.homeserver, Registrations: registrations,
	})
	return part, err
}

// bridgeAddresses are where a homeserver and its bridge are to listen.
type bridgeAddresses struct{ homeserver, bridge string }

// makeBridge returns a bridge that alice may use, and its registrations as files.
func makeBridge(ctx context.Context, dir, domain string) (part node.Part, at bridgeAddresses, registrations []string, err error) {
	for _, address := range []*string{&at.homeserver, &at.bridge} {
		if *address, err = process.FreeAddress(ctx); err != nil {
			return node.Part{}, at, nil, err
		}
	}
	_, port, err := net.SplitHostPort(at.bridge)
	if err != nil {
		return node.Part{}, at, nil, err
	}
	section := fmt.Sprintf(`
homeserver:
  address: http://%[1]s
  domain: %[2]s
encryption: {allow: false} # the tests read what the homeserver has
appservice:
  address: http://%[3]s
  hostname: 127.0.0.1
  port: %[4]s
bridge:
  permissions:
    "@alice:%[2]s": admin
`, at.homeserver, domain, at.bridge, port)
	document, _, err := matrixconfig.GenerateSecrets([]byte(section))
	if err != nil {
		return node.Part{}, at, nil, err
	}
	config, err := matrixconfig.Parse(document)
	if err != nil {
		return node.Part{}, at, nil, err
	}
	files, err := config.Registrations()
	if err != nil {
		return node.Part{}, at, nil, err
	}
	for _, file := range files {
		path := filepath.Join(dir, file.Name)
		if err := matrixconfig.WriteSecretFile(path, file.Content); err != nil {
			return node.Part{}, at, nil, err
		}
		registrations = append(registrations, path)
	}
	make, err := bridge.New(bridge.Options{Config: config, Dir: dir})
	if err != nil {
		return node.Part{}, at, nil, err
	}
	return node.Part{Name: "matrix", New: func(n *node.Node) kernel.Actor { return make(n) }}, at, registrations, nil
}

// login connects a user with the node's account.
func login(ctx context.Context, user *bridgetest.Client, domain string) error {
	ctx, cancel := context.WithTimeout(ctx, matrixPatience)
	defer cancel()
	bot := id.NewUserID("mimirbot", domain)
	room, err := user.OpenDirect(ctx, bot)
	if err != nil {
		return fmt.Errorf("invite the bridge: %w", err)
	}
	if _, err := user.SendText(ctx, room, "login attach"); err != nil {
		return err
	}
	_, err = user.Wait(ctx, func(e *event.Event) bool {
		return e.RoomID == room && e.Sender == bot && strings.Contains(e.Content.AsMessage().Body, "You use the Mimir identity")
	})
	if err != nil {
		return fmt.Errorf("wait for the bridge's answer: %w", err)
	}
	return nil
}

// startPhone has a phone talk with the account until its room is there.
func (r *matrixRig) startPhone(ctx context.Context) error {
	r.phone = phone.New(phone.Options{Name: "Bob"})
	if _, err := r.node.AddContact(ctx, r.account, identity.Link{Key: identity.PublicKey(r.phone.Key()), Name: "Bob"}); err != nil {
		return err
	}
	owner := phone.Key(r.account)
	r.phone.AddContact(owner)
	r.phone.Found(owner, r.node.Key())
	if err := r.phone.Start(r.phones.Stream()); err != nil {
		return err
	}
	const first = "the first message"
	r.phone.Write(owner, first)
	return r.wait(ctx, "", first)
}

// wait returns when alice sees a text.
func (r *matrixRig) wait(ctx context.Context, room id.RoomID, text string) error {
	ctx, cancel := context.WithTimeout(ctx, matrixPatience)
	defer cancel()
	_, err := r.alice.WaitText(ctx, room, "", text)
	return err
}

func (r *matrixRig) close() error {
	var errs []error
	if r.phone != nil {
		r.phone.Stop()
	}
	for _, client := range []*bridgetest.Client{r.alice, r.carol} {
		if client != nil {
			client.Close()
		}
	}
	if r.nodeRig != nil {
		errs = append(errs, r.nodeRig.close())
	}
	if r.server != nil {
		errs = append(errs, r.server.Stop())
	}
	return errors.Join(append(errs, os.RemoveAll(r.dir))...)
}
