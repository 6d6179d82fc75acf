// SPDX-License-Identifier: MPL-2.0

package demo

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/test/dendrite"
	"github.com/mimird/mimird/test/process"
)

// Options say how to run the demo.
type Options struct {
	// Program is the path of mimird.
	Program string
	// Out gets the story.
	Out io.Writer
	// Keep leaves everything running when the story is told, until ctx ends.
	Keep bool
}

// person is the Matrix user of the story.
const (
	personName     = "alice"
	personPassword = "mimir-demo"
	botName        = "mimirbot"
)

// world is everything that the story is about.
type world struct {
	opts Options
	dir  string

	relay    *overlay.Network
	servers  *node.Node // tracker and mediator
	address  tracker.Address
	mediator identity.NodeKey

	alice, bob *Node
	oldPhones  []*oldPhone
	building   chan built
	// homeserverAddress is where the homeserver will listen; the bridge knows it
	// before it is there.
	homeserverAddress string
	homeserver        *dendrite.Server
	person            *bridgetest.Client
	room              id.RoomID
}

// built is the outcome of building the homeserver.
type built struct {
	program string
	err     error
}

// Run tells the story. It returns an error when a step failed. Everything it made
// is gone when it returns.
func Run(ctx context.Context, opts Options) (told []Told, err error) {
	dir, err := os.MkdirTemp("", "mimird-demo-")
	if err != nil {
		return nil, fmt.Errorf("make a place for the demo: %w", err)
	}
	w := &world{opts: opts, dir: dir, building: make(chan built, 1)}
	defer func() { err = errors.Join(err, w.end()) }()

	fmt.Fprintf(opts.Out, "A Mimir world on this machine, in %s\n\n", dir)
	// Compiling the homeserver takes minutes the first time, so it begins at once.
	building, stopBuilding := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		program, err := dendrite.Build(building, dendrite.BuildOptions{Progress: w.showBuilding()})
		w.building <- built{program, err}
	}()
	defer func() {
		stopBuilding()
		<-done
	}()
	told, err = tell(ctx, opts.Out, w.steps())
	if err == nil && opts.Keep {
		w.keep(ctx)
	}
	return told, err
}

// showBuilding reports the compiling of the homeserver now and then.
func (w *world) showBuilding() func(dendrite.Progress) {
	shown := -1
	return func(p dendrite.Progress) {
		if p.Total == 0 {
			return
		}
		if tenth := 10 * p.Done / p.Total; tenth > shown && p.Done < p.Total {
			shown = tenth
			fmt.Fprintf(w.opts.Out, "      (compiling the Matrix homeserver: %d of %d packages)\n", p.Done, p.Total)
		}
	}
}

// keep leaves the world running for somebody to look around.
func (w *world) keep(ctx context.Context) {
	fmt.Fprintf(w.opts.Out, `
Everything keeps running until Ctrl-C:

  homeserver   %s
  user         %s
  password     %s
  room         %s
  Alice's node mimird --data %s status
  Bob's node   mimird --data %s send %s hello
  Alice's page %s
`, w.homeserver.URL(), w.person.UserID(), personPassword, w.room, w.alice.Dir, w.bob.Dir, w.alice.Account.ID, w.page(ctx))
	<-ctx.Done()
}

// page is a link to the page of Alice's node, or how to get one.
func (w *world) page(ctx context.Context) string {
	link, err := w.alice.Client.PageLink(ctx)
	if err != nil {
		return "mimird --data " + w.alice.Dir + " page link"
	}
	return link.URL + "\n               (works once, for ten minutes; another one: mimird --data " + w.alice.Dir + " page link)"
}

// end stops everything and removes the directory.
func (w *world) end() error {
	var errs []error
	if w.person != nil {
		w.person.Close()
	}
	for _, n := range []*Node{w.alice, w.bob} {
		if n != nil {
			errs = append(errs, n.Stop())
		}
	}
	if w.homeserver != nil {
		errs = append(errs, w.homeserver.Stop())
	}
	for _, p := range w.oldPhones {
		errs = append(errs, p.device.Close())
	}
	if w.servers != nil {
		errs = append(errs, w.servers.Stop(context.Background()), w.servers.Close())
	}
	if w.relay != nil {
		errs = append(errs, w.relay.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

// startRelay joins nothing and lets the others meet: a Yggdrasil network of our
// own.
func (w *world) startRelay() error {
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		return err
	}
	w.relay, err = overlay.Open(overlay.Options{Key: key, Listen: []string{"tcp://127.0.0.1:0"}})
	if err != nil {
		return fmt.Errorf("start the relay: %w", err)
	}
	return nil
}

func (w *world) relayURI() string { return w.relay.ListenAddrs()[0] }

// startServers runs the roles of a tracker and of a mediator, without a node.
func (w *world) startServers(ctx context.Context) error {
	join := func(key identity.NodePrivateKey) (uplink.Network, error) {
		return overlay.Open(overlay.Options{Key: key, Peers: []string{w.relayURI()}})
	}
	servers, err := node.Open(node.Options{
		Dir: filepath.Join(w.dir, "servers"), Logger: slog.New(slog.DiscardHandler),
		Tracker: &trackerserver.Options{OpenNetwork: join}, Mediator: &mediatorserver.Options{OpenNetwork: join},
	})
	if err != nil {
		return fmt.Errorf("start tracker and mediator: %w", err)
	}
	w.servers = servers
	key, _ := servers.TrackerKey()
	w.address = tracker.Address{Node: key, Port: tracker.Port}
	w.mediator, _ = servers.MediatorKey()
	return servers.Start(ctx)
}

// nodeConfig is the configuration of a node of this world, with more of it.
func (w *world) nodeConfig(carriers, more string) string {
	return fmt.Sprintf("yggdrasil:\n  peers: [%q]\n  carriers: [%s]\ntrackers: [%q]\ngroups:\n  mediators: [%s]\n%s",
		w.relayURI(), carriers, w.address.String(), w.mediator, more)
}

// makeAlice makes the node with the bridge, and its registration.
func (w *world) makeAlice(ctx context.Context) error {
	homeserver, err := process.FreeAddress(ctx)
	if err != nil {
		return err
	}
	appservice, err := process.FreeAddress(ctx)
	if err != nil {
		return err
	}
	host, port, _ := strings.Cut(appservice, ":")
	document := w.nodeConfig("stream, quic, tcp", fmt.Sprintf(`roles: [node, matrix]
matrix:
  homeserver:
    address: http://%s
    domain: %s
  encryption: {allow: false} # onlookers read what the homeserver has
  appservice:
    address: http://%s
    hostname: %s
    port: %s
    bot: {username: %s}
  bridge:
    permissions: {"@%s:%s": admin}
`, homeserver, dendrite.DefaultServerName, appservice, host, port, botName, personName, dendrite.DefaultServerName))
	if w.alice, err = NewNode(w.opts.Program, w.dir, "alice", document); err != nil {
		return err
	}
	// The operator's command, with the flags that every bridge has.
	out, err := exec.CommandContext(ctx, w.opts.Program, "matrix", "-g", "--data", w.alice.Dir, "-r", w.registration()).CombinedOutput()
	if err != nil {
		return fmt.Errorf("mimird matrix -g: %w: %s", err, out)
	}
	w.homeserverAddress = homeserver
	return nil
}

// registration is where the homeserver finds out about the bridge.
func (w *world) registration() string { return filepath.Join(w.dir, "registration.yaml") }
