// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/demo"
	"github.com/mimird/mimird/test/dendrite"
	"github.com/mimird/mimird/test/process"
)

// The Matrix user whose client is in the pictures.
const (
	userName     = "alice"
	userPassword = "mimir-screenshots"
	botName      = "mimirbot"
)

// pollEvery is how often a condition is looked at that nobody tells of.
const pollEvery = 50 * time.Millisecond

// world is everything that is behind the pictures.
type world struct {
	dir     string
	program string // mimird

	relay *overlay.Network
	// hub is tracker, file server and mediator; the others are people.
	hub, alice, bob, carol *demo.Node

	homeserverProgram string
	homeserverAddress string
	homeserver        *dendrite.Server
	// user is Alice in Matrix, on a device that is not in the pictures.
	user   *bridgetest.Client
	client *process.Process

	// Rooms with Bob, with Carol, who was a stranger, and of the choir.
	room, carolRoom, choirRoom id.RoomID
	// The groups, by their ids.
	choir, hike string
}

// end stops everything and removes the directory.
func (w *world) end() error {
	var errs []error
	if w.client != nil {
		errs = append(errs, w.client.Stop())
	}
	if w.user != nil {
		w.user.Close()
	}
	for _, n := range []*demo.Node{w.carol, w.bob, w.alice, w.hub} {
		if n != nil {
			errs = append(errs, n.Stop())
		}
	}
	if w.homeserver != nil {
		errs = append(errs, w.homeserver.Stop())
	}
	if w.relay != nil {
		errs = append(errs, w.relay.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(w.dir))...)
}

func (w *world) buildHomeserver(ctx context.Context) (err error) {
	fmt.Fprintln(os.Stdout, "homeserver: the first time it is compiled, for some minutes")
	w.homeserverProgram, err = dendrite.Build(ctx, dendrite.BuildOptions{})
	return err
}

// startNodes brings up the network and everybody's node.
func (w *world) startNodes(ctx context.Context) error {
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		return err
	}
	if w.relay, err = overlay.Open(overlay.Options{Key: key, Listen: []string{"tcp://127.0.0.1:0"}}); err != nil {
		return fmt.Errorf("start the relay: %w", err)
	}
	peers := fmt.Sprintf("yggdrasil: {peers: [%q]}\n", w.relay.ListenAddrs()[0])
	if err := w.start(ctx, &w.hub, "hub", peers+"roles: [node, tracker, files, mediator]\ntrackers: []\n"); err != nil {
		return err
	}
	status, err := w.hub.Client.Status(ctx)
	if err != nil {
		return err
	}
	if status.Role == nil || status.FilesRole == nil || status.MediatorRole == nil {
		return errors.New("the hub is not tracker, file server and mediator")
	}
	common := peers + fmt.Sprintf("trackers: [%q]\nmedia: {server: %q}\ngroups: {mediators: [%q]}\n",
		status.Role.Address, status.FilesRole.Key, status.MediatorRole.Key)
	bridged, err := w.bridgeConfig(ctx)
	if err != nil {
		return err
	}
	if err := errors.Join(
		w.start(ctx, &w.alice, "Alice", common+bridged),
		w.start(ctx, &w.bob, "Bob", common),
		w.start(ctx, &w.carol, "Carol", common),
	); err != nil {
		return err
	}
	for _, p := range []struct {
		node  *demo.Node
		looks look
	}{{w.alice, looksOfAlice}, {w.bob, looksOfBob}, {w.carol, looksOfCarol}} {
		if _, err := p.node.Client.ChangeAccount(ctx, "-", control.AccountChange{Avatar: face(p.looks)}); err != nil {
			return fmt.Errorf("give %s a picture: %w", p.node.Name, err)
		}
	}
	for _, p := range [][2]*demo.Node{{w.alice, w.bob}, {w.bob, w.alice}} {
		if _, err := p[0].Client.AddContact(ctx, "-", p[1].Account.Link); err != nil {
			return err
		}
	}
	return nil
}

// start creates a node and starts it. The bridge's registration is written meanwhile.
func (w *world) start(ctx context.Context, at **demo.Node, name, config string) error {
	n, err := demo.NewNode(w.program, w.dir, name, config)
	if err != nil {
		return err
	}
	if n.Name == "Alice" {
		out, err := exec.CommandContext(ctx, w.program, "matrix", "-g", "--data", n.Dir, "-r", w.registration()).CombinedOutput()
		if err != nil {
			return fmt.Errorf("mimird matrix -g: %w: %s", err, out)
		}
	}
	if err := n.Start(ctx); err != nil {
		return err
	}
	*at = n
	return nil
}

// registration is where the homeserver finds out about the bridge.
func (w *world) registration() string { return filepath.Join(w.dir, "registration.yaml") }

// bridgeConfig is what a node with the bridge has in its configuration besides.
func (w *world) bridgeConfig(ctx context.Context) (_ string, err error) {
	if w.homeserverAddress, err = process.FreeAddress(ctx); err != nil {
		return "", err
	}
	appservice, err := process.FreeAddress(ctx)
	if err != nil {
		return "", err
	}
	host, port, err := net.SplitHostPort(appservice)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf(`roles: [node, matrix]
matrix:
  homeserver:
    address: http://%s
    domain: %s
  encryption: {allow: false}
  # The client shows status events as text, so delivery is told by receipts alone.
  matrix: {message_status_events: false, delivery_receipts: true}
  appservice:
    address: http://%s
    hostname: %s
    port: %s
    bot: {username: %s, displayname: Mimir}
  bridge:
    permissions: {"@%s:%s": admin}
`, w.homeserverAddress, dendrite.DefaultServerName, appservice, host, port, botName, userName, dendrite.DefaultServerName), nil
}

// startHomeserver starts the homeserver with its one user.
func (w *world) startHomeserver(ctx context.Context) (err error) {
	w.homeserver, err = dendrite.Start(ctx, dendrite.Options{
		Dir: filepath.Join(w.dir, "dendrite"), Program: w.homeserverProgram,
		Address: w.homeserverAddress, Registrations: []string{w.registration()},
	})
	if err != nil {
		return err
	}
	if err := w.homeserver.CreateUser(ctx, userName, userPassword, false); err != nil {
		return err
	}
	if w.user, err = bridgetest.Login(ctx, w.homeserver.URL(), userName, userPassword); err != nil {
		return err
	}
	if err := w.user.Matrix.SetDisplayName(ctx, "Alice"); err != nil {
		return fmt.Errorf("name Alice: %w", err)
	}
	picture, err := w.user.Matrix.UploadBytesWithName(ctx, face(looksOfAlice), "image/png", "alice.png")
	if err != nil {
		return fmt.Errorf("give Alice a picture: %w", err)
	}
	return w.user.Matrix.SetAvatarURL(ctx, picture.ContentURI)
}

// until waits for a condition. An error of the condition is final.
func until(ctx context.Context, what string, condition func() (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		done, err := condition()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: waited in vain: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}
