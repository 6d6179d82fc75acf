// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/test/crash"
	"github.com/mimird/mimird/test/demo"
	"github.com/mimird/mimird/test/dendrite"
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
	other      *demo.Node // relay, tracker and contact
	homeserver *bridgetest.Homeserver
	user       *bridgetest.Client
	phone      *phoneContact
	talks      []*conversation

	kills int
	note  string // what a failure has to name: the point, the seed
}

// conversation is what a contact and the user say to each other.
type conversation struct {
	contact
	world *world
	room  id.RoomID
	ghost id.UserID

	mu       sync.Mutex
	toRoom   []string // accepted, in order
	fromRoom []string
	seen     int // events of the room
	texts    []string
}

// direction is one of the two in which messages go.
type direction string

const (
	mimirToMatrix direction = "Mimir to Matrix"
	matrixToMimir direction = "Matrix to Mimir"
)

var directions = []direction{mimirToMatrix, matrixToMimir}

// newWorld builds the world; the first words have been exchanged when it returns.
func newWorld(t *testing.T) *world {
	t.Helper()
	dir, err := os.MkdirTemp("", "crash-") //nolint:usetesting // the paths of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, dir: dir}
	t.Cleanup(func() {
		w.showLogs()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	address := w.startOther()
	w.makeVictim(address)
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

// showLogs shows the ends of both nodes' logs when the test has failed.
func (w *world) showLogs() {
	if !w.t.Failed() {
		return
	}
	const most = 24 << 10
	for _, n := range []*demo.Node{w.other, w.victim} {
		if n == nil {
			continue
		}
		file, err := os.Open(filepath.Join(n.Dir, "log"))
		if err != nil {
			w.t.Log(err)
			continue
		}
		if info, err := file.Stat(); err == nil && info.Size() > most {
			_, _ = file.Seek(-most, io.SeekEnd)
		}
		tail, err := io.ReadAll(file)
		w.t.Logf("%sthe end of the log of %s (%v):\n%s", w.note, n.Name, errors.Join(err, file.Close()), tail)
	}
}

func (w *world) freeAddress() string {
	w.t.Helper()
	address, err := dendrite.FreeAddress(w.t.Context())
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

// makeVictim makes the node with the bridge, and its homeserver.
func (w *world) makeVictim(address tracker.Address) {
	w.t.Helper()
	homeserver, appservice := w.freeAddress(), w.freeAddress()
	host, port, _ := strings.Cut(appservice, ":")
	var err error
	w.victim, err = demo.NewNode(program, w.dir, userName, fmt.Sprintf(`roles: [node, matrix]
log: {level: debug}
yggdrasil: {peers: [%q]}
trackers: [%q]
matrix:
  homeserver:
    address: http://%s
    domain: %s
  appservice:
    address: http://%s
    hostname: %s
    port: %s
  bridge:
    permissions: {"@%s:%s": admin}
`, w.relay, address, homeserver, serverName, appservice, host, port, userName, serverName))
	w.must(err)
	w.t.Cleanup(func() { w.must(w.victim.Stop()) })
	registration := filepath.Join(w.dir, "registration.yaml")
	out, err := exec.CommandContext(w.t.Context(), program, "matrix", "-g", "--data", w.victim.Dir, "-r", registration).CombinedOutput()
	if err != nil {
		w.t.Fatalf("mimird matrix -g: %v: %s", err, out)
	}
	raw, err := os.ReadFile(registration)
	w.must(err)
	service, err := bridgetest.ParseService(raw)
	w.must(err)
	w.homeserver, err = bridgetest.NewHomeserver(bridgetest.Options{
		ServerName: serverName, Address: homeserver, Services: []bridgetest.Service{service},
	})
	w.must(err)
	w.t.Cleanup(w.homeserver.Close)
	w.homeserver.CreateUser(userName, password)
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
	w.user, err = bridgetest.Login(w.soon(), w.homeserver.URL(), userName, password)
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

// write writes the next text in one direction. One goroutine at a time may write
// in each direction of a conversation.
func (c *conversation) write(ctx context.Context, d direction) error {
	c.mu.Lock()
	room, list := c.room, &c.toRoom
	text := fmt.Sprintf("%s %d", c.name(), len(c.toRoom))
	if d == matrixToMimir {
		list, text = &c.fromRoom, fmt.Sprintf("to %s %d", c.name(), len(c.fromRoom))
	}
	c.mu.Unlock()
	var err error
	switch {
	case d == mimirToMatrix:
		err = c.contact.write(ctx, text)
	case room == "": // the room is made by the contact's first text
		return nil
	default:
		_, err = c.world.user.SendText(ctx, room, text)
	}
	if err != nil {
		return fmt.Errorf("write %q: %w", text, err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	*list = append(*list, text)
	return nil
}

// accepted is what has been written in one direction.
func (c *conversation) accepted(d direction) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d == matrixToMimir {
		return slices.Clone(c.fromRoom)
	}
	return slices.Clone(c.toRoom)
}

// arrived is what has arrived in one direction: in the room, or at the contact.
func (c *conversation) arrived(d direction) []string {
	if d == matrixToMimir {
		return c.heard()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	timeline := c.world.homeserver.Timeline(c.room)
	for _, e := range timeline[min(c.seen, len(timeline)):] {
		var content event.MessageEventContent
		if e.Type == event.EventMessage.Type && e.Sender == c.ghost && json.Unmarshal(e.Content, &content) == nil && content.MsgType == event.MsgText {
			c.texts = append(c.texts, content.Body)
		}
	}
	c.seen = len(timeline)
	return slices.Clone(c.texts)
}

// underWay is how many texts have not arrived yet.
func (c *conversation) underWay(d direction) int {
	return len(c.accepted(d)) - len(slices.Compact(c.arrived(d))) // what is repeated follows at once
}

// say writes some texts in some directions of all conversations.
func (w *world) say(texts int, ds ...direction) {
	w.t.Helper()
	for range texts {
		for _, c := range w.talks {
			for _, d := range ds {
				w.must(c.write(w.soon(), d))
			}
		}
	}
}

const (
	// window is how many texts are under way at most in one direction of a
	// conversation, and loadEvery how often one more is written.
	window    = 20
	loadEvery = 20 * time.Millisecond
)

// load writes in some directions of all conversations until the function it
// returns is called.
func (w *world) load(ds ...direction) (end func()) {
	w.t.Helper()
	ctx, stop := context.WithCancel(w.t.Context())
	var writers sync.WaitGroup
	for _, c := range w.talks {
		for _, d := range ds {
			writers.Go(func() {
				tick := time.NewTicker(loadEvery)
				defer tick.Stop()
				for {
					select {
					case <-ctx.Done():
						return
					case <-tick.C:
					}
					if c.underWay(d) >= window {
						continue
					}
					// It must not be cut off: what becomes of it would be unknown.
					if err := c.write(context.WithoutCancel(ctx), d); err != nil {
						w.t.Errorf("%s%v", w.note, err)
						return
					}
				}
			})
		}
	}
	end = sync.OnceFunc(func() {
		stop()
		writers.Wait()
	})
	w.t.Cleanup(end)
	return end
}

// settle returns when everything has arrived and nothing is left to do.
func (w *world) settle() {
	w.t.Helper()
	var left string
	if !poll(nil, func() bool { left = w.left(); return left == "" }) {
		w.t.Fatalf("%safter %v there is still %s\n%s", w.note, patience, left, w.verdict(directions...))
	}
}

// left says what there is to be done, "" when nothing is.
func (w *world) left() string {
	for _, c := range w.talks {
		for _, d := range directions {
			if n := c.underWay(d); n > 0 {
				return fmt.Sprintf("%d texts under way, %s, %s", n, c.name(), d)
			}
		}
		if n, err := c.waiting(w.t.Context()); n > 0 || err != nil {
			return fmt.Sprintf("%d texts of %s not acknowledged (%v)", n, c.name(), err)
		}
	}
	status, err := w.victim.Client.Status(w.t.Context())
	if err != nil {
		return err.Error()
	}
	var matrix bridge.Status
	if err := json.Unmarshal(status.Parts["matrix"], &matrix); err != nil {
		return err.Error()
	}
	if n := status.Accounts[0].Waiting + matrix.Transactions + matrix.Conversations; n > 0 {
		return fmt.Sprintf("work for the node: %d texts, %d transactions, %d conversations",
			status.Accounts[0].Waiting, matrix.Transactions, matrix.Conversations)
	}
	return ""
}

// verdict compares in some directions what was accepted with what has arrived, in
// the room or at the contact, and in the node itself.
func (w *world) verdict(ds ...direction) crash.Difference {
	w.t.Helper()
	var all crash.Difference
	for _, c := range w.talks {
		log := w.messages(c)
		for _, d := range ds {
			arrived := c.arrived(d)
			if c.contact == contact(w.phone) && d == matrixToMimir {
				arrived = w.withoutRepetitions(arrived)
			}
			all.Add(crash.Compare(c.accepted(d), arrived))
			stored := crash.Compare(c.accepted(d), log[d])
			if !stored.OK() {
				w.t.Errorf("%sthe node's own log of %s, %s: %s", w.note, c.name(), d, stored)
			}
		}
	}
	return all
}

// withoutRepetitions takes out what the phone was sent again: the node may do that
// with the one message of which it does not know whether it has arrived when a
// session ends.
func (w *world) withoutRepetitions(arrived []string) []string {
	w.t.Helper()
	once := slices.Compact(slices.Clone(arrived))
	ended := w.phone.Page(w.phone.victim).Ended
	if n := len(arrived) - len(once); n > ended {
		w.t.Errorf("%s%d texts were sent to the phone again, with %d sessions ended", w.note, n, ended)
	}
	return once
}

// messages are what the node itself has of a conversation, in order. Everything
// must be in its last state.
func (w *world) messages(c *conversation) map[direction][]string {
	w.t.Helper()
	texts := make(map[direction][]string)
	for before := uint64(0); ; {
		page, err := w.victim.Client.Messages(w.t.Context(), "-", c.key(), before, 500)
		w.must(err)
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			d, state := mimirToMatrix, "received"
			if m.Direction == "out" {
				d, state = matrixToMimir, "delivered"
			}
			if m.State != state {
				w.t.Errorf("%s%q is %s", w.note, m.Text, m.State)
			}
			texts[d] = append(texts[d], m.Text)
			before = m.Order
		}
	}
	for _, list := range texts {
		slices.Reverse(list)
	}
	return texts
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

// check waits until everything has arrived, and prints and checks the outcome.
func (w *world) check(ds ...direction) {
	w.t.Helper()
	w.settle()
	// Whatever is shown twice would come before the next.
	w.say(1, directions...)
	w.settle()
	for _, d := range ds {
		outcome := w.verdict(d)
		line := fmt.Sprintf("%s%s: kills %d %s", w.note, d, w.kills, outcome)
		if !outcome.OK() {
			w.t.Error(line)
			continue
		}
		w.t.Log(line)
	}
}
