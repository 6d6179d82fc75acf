// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/test/demo"
	"github.com/mimird/mimird/test/dendrite"
	"github.com/mimird/mimird/test/process"
)

const (
	serverName = "mimir.test"
	userName   = "alice"
	password   = "long-secret"
)

// world is a node that will die, those who talk to it through Mimir, and the user
// who talks to it through Matrix.
type world struct {
	t          *testing.T
	dir        string
	relay      string // where the overlay can be joined
	victim     *demo.Node
	other      *demo.Node             // relay, tracker and contact
	third      *demo.Node             // nil when there are two
	homeserver *bridgetest.Homeserver // nil when there is a Dendrite instead
	dendrite   *dendrite.Server       // nil when there is a fake homeserver
	server     string                 // the homeserver's URL
	user       *bridgetest.Client
	phone      *phoneContact
	talks      []*conversation
	disk       *disk  // that the node is on; nil for any
	program    string // of the node; "" for the usual one

	kills int
	kept  int    // texts for somebody who never comes
	note  string // what a failure has to name: the point, the seed
}

// newWorld builds the world; the first words have been exchanged when it returns.
func newWorld(t *testing.T) *world {
	t.Helper()
	return buildWorld(t, new(world), (*world).startFake)
}

// newWorldOf is newWorld with another program for the node.
func newWorldOf(t *testing.T, program string) *world {
	t.Helper()
	return buildWorld(t, &world{program: program}, (*world).startFake)
}

// newWorldOn is newWorld with the node on a disk of its own.
func newWorldOn(t *testing.T, d *disk) *world {
	t.Helper()
	return buildWorld(t, &world{disk: d, program: d.program}, (*world).startFake)
}

// newRealWorld is newWorld with a Dendrite for a homeserver.
func newRealWorld(t *testing.T) *world {
	t.Helper()
	return buildWorld(t, new(world), (*world).startDendrite)
}

// buildWorld takes what starts the homeserver at an address, with a registration.
func buildWorld(t *testing.T, w *world, startHomeserver func(w *world, address, registration string)) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "crash-") //nolint:usetesting // the paths of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	w.t, w.dir = t, dir
	t.Cleanup(func() {
		w.showLogs()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	address := w.startOther()
	startHomeserver(w, w.makeVictim(address), w.registration())
	w.must(w.victim.Start(w.soon()))
	w.connect(address)
	w.logIn()
	w.say(1, directions...)
	for _, c := range w.talks {
		first, err := w.user.WaitText(w.soon(), "", c.ghost, c.toRoom[0])
		w.must(err)
		c.mu.Lock()
		c.room = first.RoomID
		c.mu.Unlock()
	}
	w.say(1, directions...)
	w.settle()
	return w
}

func (w *world) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatalf("%s%v", w.note, err)
	}
}

func (w *world) soon() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

// showLogs shows the ends of all logs when the test has failed.
func (w *world) showLogs() {
	if !w.t.Failed() {
		return
	}
	logs := []string{filepath.Join(w.dir, "dendrite", "dendrite.log")}
	for _, n := range []*demo.Node{w.other, w.third, w.victim} {
		if n != nil {
			logs = append(logs, filepath.Join(n.Dir, "log"))
		}
	}
	for _, path := range logs {
		if tail, err := endOf(path); !errors.Is(err, fs.ErrNotExist) {
			w.t.Logf("%sthe end of %s (%v):\n%s", w.note, path, err, tail)
		}
	}
}

// endOf returns the end of a file.
func endOf(path string) ([]byte, error) {
	const most = 24 << 10
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	if info, err := file.Stat(); err == nil && info.Size() > most {
		_, _ = file.Seek(-most, io.SeekEnd)
	}
	tail, err := io.ReadAll(file)
	return tail, errors.Join(err, file.Close())
}

func (w *world) freeAddress() string {
	w.t.Helper()
	address, err := process.FreeAddress(w.t.Context())
	w.must(err)
	return address
}

// startOther starts the node that stays alive. It is the network, too.
func (w *world) startOther() tracker.Address {
	w.t.Helper()
	w.relay = "tcp://" + w.freeAddress()
	var err error
	w.other, err = demo.NewNode(program, w.dir, "bob", fmt.Sprintf(
		"roles: [node, tracker]\nlog: {level: debug}\nyggdrasil: {listen: [%q], peers: [%q]}\n", w.relay, w.relay))
	w.must(err)
	// Its tracker is its own, whose address it only knows when it has run once.
	w.must(w.other.Start(w.soon()))
	var status control.Status
	if !poll(w.other.Process().Ended(), func() bool {
		status, err = w.other.Client.Status(w.soon())
		return err == nil && status.Role != nil
	}) {
		w.t.Fatalf("the tracker does not run (%v)", err)
	}
	w.must(w.other.Stop())
	address, err := tracker.ParseAddress(status.Role.Address)
	w.must(err)
	document, err := os.OpenFile(w.other.ConfigPath(), os.O_APPEND|os.O_WRONLY, 0o600)
	w.must(err)
	_, err = fmt.Fprintf(document, "trackers: [%q]\n", address)
	w.must(errors.Join(err, document.Close()))
	w.must(w.other.Start(w.soon()))
	w.t.Cleanup(func() { w.must(w.other.Stop()) })
	return address
}

func (w *world) registration() string { return filepath.Join(w.dir, "registration.yaml") }

// makeVictim makes the node with the bridge, and returns where its homeserver has
// to listen.
func (w *world) makeVictim(address tracker.Address) (homeserver string) {
	w.t.Helper()
	homeserver, appservice := w.freeAddress(), w.freeAddress()
	host, port, _ := strings.Cut(appservice, ":")
	parent := w.dir
	if w.disk != nil {
		parent = w.disk.mount
	}
	var err error
	w.victim, err = demo.NewNode(cmp.Or(w.program, program), parent, userName, fmt.Sprintf(`roles: [node, matrix]
log: {level: debug}
yggdrasil: {peers: [%q]}
trackers: [%q]
matrix:
  homeserver:
    address: http://%s
    domain: %s
  encryption: {allow: false} # the test reads what the homeserver has
  appservice:
    address: http://%s
    hostname: %s
    port: %s
  bridge:
    permissions: {"@%s:%s": admin}
`, w.relay, address, homeserver, serverName, appservice, host, port, userName, serverName))
	w.must(err)
	if w.disk != nil { // what a node says when its disk is full has to be readable
		w.must(os.Symlink(filepath.Join(w.dir, "log"), filepath.Join(w.victim.Dir, "log")))
	}
	w.t.Cleanup(func() { w.must(w.victim.Stop()) })
	out, err := exec.CommandContext(w.t.Context(), program, "matrix", "-g", "--data", w.victim.Dir, "-r", w.registration()).CombinedOutput()
	if err != nil {
		w.t.Fatalf("mimird matrix -g: %v: %s", err, out)
	}
	return homeserver
}

// startFake starts the fake homeserver, in this process: it survives every kill.
func (w *world) startFake(address, registration string) {
	w.t.Helper()
	raw, err := os.ReadFile(registration)
	w.must(err)
	service, err := bridgetest.ParseService(raw)
	w.must(err)
	w.homeserver, err = bridgetest.NewHomeserver(bridgetest.Options{
		ServerName: serverName, Address: address, Services: []bridgetest.Service{service},
	})
	w.must(err)
	w.t.Cleanup(w.homeserver.Close)
	w.homeserver.CreateUser(userName, password)
	w.server = w.homeserver.URL()
}

// connect makes the contacts, and everybody each other's.
func (w *world) connect(address tracker.Address) {
	w.t.Helper()
	victim := w.victim.Account
	bob := newNodeContact(w.other, victim.ID)
	w.t.Cleanup(func() { w.must(bob.close()) })
	status, err := w.victim.Client.Status(w.soon())
	w.must(err)
	w.phone, err = newPhoneContact(w.relay, address.Node, victim.ID, status.Node)
	w.must(err)
	w.t.Cleanup(func() { w.must(w.phone.close()) })
	_, err = w.other.Client.AddContact(w.soon(), "-", victim.Link)
	w.must(err)
	for _, c := range []contact{bob, w.phone} {
		_, err := w.victim.Client.AddContact(w.soon(), "-", c.key())
		w.must(err)
		w.talks = append(w.talks, &conversation{contact: c, world: w, ghost: id.NewUserID("mimir_"+c.key(), serverName)})
	}
}

// logIn has the user use the node's identity.
func (w *world) logIn() {
	w.t.Helper()
	var err error
	w.user, err = bridgetest.Login(w.soon(), w.server, userName, password)
	w.must(err)
	w.t.Cleanup(w.user.Close)
	bot := id.NewUserID("mimirbot", serverName)
	room, err := w.user.OpenDirect(w.soon(), bot)
	w.must(err)
	_, err = w.user.SendText(w.soon(), room, "login attach")
	w.must(err)
	_, err = w.user.Wait(w.soon(), func(e *event.Event) bool {
		return e.RoomID == room && e.Sender == bot && strings.Contains(e.Content.AsMessage().Body, "You use the Mimir identity")
	})
	w.must(err)
}

// run lets the node run for a time, which it must not end in by itself. What it does
// meanwhile is up to chance, or to a clock of another program.
func (w *world) run(d time.Duration) {
	w.t.Helper()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-w.victim.Process().Ended():
		w.t.Fatalf("%sthe node ended by itself: %v\n%s", w.note, w.victim.Process().Err(), w.victim.Process().LogTail())
	}
}

// kill kills the node.
func (w *world) kill() {
	w.t.Helper()
	w.must(w.victim.Kill())
	w.kills++
}

// progress returns when more has arrived in one direction than there is now.
func (w *world) progress(d direction, more int) {
	w.t.Helper()
	count := func() (n int) {
		for _, c := range w.talks {
			n += len(c.arrived(d))
		}
		return n
	}
	want := count() + more
	if !poll(w.victim.Process().Ended(), func() bool { return count() >= want }) {
		w.t.Fatalf("%snothing arrives, %s (the node has ended: %v)", w.note, d, w.victim.Process().Err())
	}
}
