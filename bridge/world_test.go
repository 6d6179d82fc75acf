// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mimird/mimird/bridge/botcommands"
	matrixconfig "github.com/mimird/mimird/bridge/config"

	"github.com/cockroachdb/pebble/v2/vfs"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/poll"
	"github.com/mimird/mimird/test/process"
)

// patience is for conditions that hold within a second on an idle machine.
const patience = 2 * time.Minute

func soon(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	return ctx
}

// world is a bridge between a testNode and a homeserver. The secrets of its
// configuration must not come up in its log.
type world struct {
	t           *testing.T
	config      *matrixconfig.Config
	dir         string
	files       string // for bridge.Options.Registrations
	retry       kernel.Backoff
	unreachable time.Duration // for bridge.Options.UnreachableAfter
	stage       *kerneltest.Stage
	node        *testNode
	index       botcommands.Search
	facing      bridge.Node // what the bridge is given: node, unless something is in front of it
	log         *logBuffer
	bridge      kernel.Ref
	// encrypted is whether the people's clients encrypt.
	encrypted bool
	// before, when set, is called before an actor handles a message.
	before atomic.Pointer[func(kernel.Ref, any)]
}

// quickRetry lets tests of back-offs end soon.
var quickRetry = kernel.Backoff{Min: 10 * time.Millisecond, Max: 100 * time.Millisecond}

func newWorld(t *testing.T) *world {
	t.Helper()
	return newWorldOn(t, store.Options{FS: vfs.NewMem()})
}

// placeDatabase says where the tables of the bridge are, when not in a file.
var placeDatabase = func(*world) {}

// newWorldOn is newWorld with a store of the test's choice.
func newWorldOn(t *testing.T, opts store.Options) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), retry: quickRetry, log: &logBuffer{output: t.Output()}}
	t.Cleanup(w.log.end) // runs last
	address, err := process.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(address)
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	w.config = matrixconfig.Default()
	w.config.Homeserver.Domain = "mimir.test"
	w.config.AppService.Address = "http://" + address
	w.config.AppService.Port = uint16(number)
	w.config.Bridge.Permissions = bridgeconfig.PermissionConfig{
		"mimir.test":        &bridgeconfig.PermissionLevelUser,
		"@alice:mimir.test": &bridgeconfig.PermissionLevelAdmin,
		"@eve:mimir.test":   &bridgeconfig.PermissionLevelBlock,
	}
	w.config.Matrix.MessageStatusEvents = true
	w.config.Encryption.Allow = false // people in tests read what the homeserver has
	w.config.Logging.MinLevel = "debug"
	w.config.GenerateSecrets()
	placeDatabase(w)

	logger := slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	w.stage = kerneltest.NewStage(t, kernel.Options{Logger: logger, BeforeReceive: func(actor kernel.Ref, msg any) {
		if before := w.before.Load(); before != nil {
			(*before)(actor, msg)
		}
	}})
	w.node = newTestNode(t, w.stage, opts)
	w.facing = w.node
	return w
}

// withFake starts a fake homeserver that knows the bridge.
func (w *world) withFake() *bridgetest.Homeserver {
	w.t.Helper()
	var services []bridgetest.Service
	for _, registration := range w.registrations() {
		service, err := bridgetest.ParseService(registration.Content)
		if err != nil {
			w.t.Fatal(err)
		}
		services = append(services, service)
	}
	homeserver, err := bridgetest.NewHomeserver(bridgetest.Options{Services: services})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(homeserver.Close)
	w.config.Homeserver.Address = homeserver.URL()
	return homeserver
}

func (w *world) registrations() []matrixconfig.RegistrationFile {
	w.t.Helper()
	files, err := w.config.Registrations()
	if err != nil {
		w.t.Fatal(err)
	}
	return files
}

// start starts the bridge; stop ends it.
func (w *world) start() {
	w.t.Helper()
	factory, err := bridge.New(bridge.Options{Config: w.config, Version: "v7", Dir: w.dir, Registrations: w.files, Search: w.index, Retry: w.retry, UnreachableAfter: w.unreachable})
	if err != nil {
		w.t.Fatal(err)
	}
	w.bridge = w.stage.Spawn(w.t, kernel.Spec{Name: "matrix", Kind: "matrix", New: func() kernel.Actor { return factory(w.facing) }})
	w.t.Cleanup(w.stop)
}

func (w *world) stop() {
	w.t.Helper()
	if w.bridge.IsZero() {
		return
	}
	ref := w.bridge
	w.bridge = kernel.Ref{}
	stopChild(w.t, w.stage, ref)
	if w.log.contains("left behind") {
		w.t.Error("a goroutine of the bridge did not end in time")
	}
}

func (w *world) status() bridge.Status {
	w.t.Helper()
	status, err := kernel.Ask[bridge.Status](soon(w.t), w.bridge, bridge.StatusRequest{})
	if err != nil {
		w.t.Fatal(err)
	}
	return status
}

// await returns when the condition holds.
func (w *world) await(what string, condition func() bool) {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if !poll.Until(ctx, condition) {
		w.t.Fatalf("waited too long: %s", what)
	}
}

func (w *world) awaitState(state bridge.State) {
	w.t.Helper()
	w.await("the bridge is "+string(state), func() bool { return w.status().State == state })
}

// bot is the bridge's user.
func (w *world) bot() id.UserID { return "@mimirbot:mimir.test" }

// ghost is an identity's user.
func (w *world) ghost(key identity.PublicKey) id.UserID {
	return id.NewUserID("mimir_"+key.String(), "mimir.test")
}

// person logs in to a homeserver.
func (w *world) person(url, name string) *bridgetest.Client {
	w.t.Helper()
	login := bridgetest.Login
	if w.encrypted {
		login = bridgetest.LoginEncrypting
	}
	client, err := login(soon(w.t), url, name, "long-secret")
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(client.Close)
	return client
}

// attach logs somebody in with the node's one identity. It returns the management
// room.
func (w *world) attach(who *bridgetest.Client) id.RoomID {
	w.t.Helper()
	room := w.greeted(who)
	w.say(who, room, "login attach", "You use the Mimir identity Alice")
	return room
}

// greeted opens a management room: that it is one the first time that the bot
// has greeted in it.
func (w *world) greeted(who *bridgetest.Client) id.RoomID {
	w.t.Helper()
	room, err := who.OpenDirect(soon(w.t), w.bot())
	if err != nil {
		w.t.Fatal(err)
	}
	w.said(who, room, "help")
	return room
}

func (w *world) say(who *bridgetest.Client, room id.RoomID, command, answer string) {
	w.t.Helper()
	heard := who.Seen(w.botSaying(room, answer))
	if _, err := who.SendText(soon(w.t), room, command); err != nil {
		w.t.Fatal(err)
	}
	w.hear(who, room, answer, heard)
}

// said waits for words of the bot, said before or still to come.
func (w *world) said(who *bridgetest.Client, room id.RoomID, text string) {
	w.t.Helper()
	w.hear(who, room, text, nil)
}

func (w *world) hear(who *bridgetest.Client, room id.RoomID, text string, not map[id.EventID]bool) {
	w.t.Helper()
	says := w.botSaying(room, text)
	if _, err := who.Wait(soon(w.t), func(evt *event.Event) bool { return says(evt) && !not[evt.ID] }); err != nil {
		w.t.Fatalf("the bot does not say %q: %v", text, err)
	}
}

func (w *world) botSaying(room id.RoomID, text string) func(*event.Event) bool {
	return func(evt *event.Event) bool {
		return evt.RoomID == room && evt.Sender == w.bot() && evt.Type == event.EventMessage &&
			strings.Contains(evt.Content.AsMessage().Body, text)
	}
}

// texts are the texts that somebody has written in a room. A busy Dendrite is asked
// again.
func (w *world) texts(who *bridgetest.Client, room id.RoomID, sender id.UserID) (texts []string) {
	w.t.Helper()
	w.await("the timeline can be read", func() bool {
		found, err := who.Texts(soon(w.t), room, sender)
		texts = found
		return err == nil
	})
	return texts
}

// awaitText waits for a text and returns the room it is in.
func (w *world) awaitText(who *bridgetest.Client, sender id.UserID, text string) id.RoomID {
	w.t.Helper()
	evt, err := who.WaitText(soon(w.t), "", sender, text)
	if err != nil {
		w.t.Fatal(err)
	}
	return evt.RoomID
}

// awaitOutgoing waits until the outbox of a conversation holds these texts.
func (w *world) awaitOutgoing(account, contact identity.PublicKey, want ...string) {
	w.t.Helper()
	var have []string
	defer func() {
		if w.t.Failed() {
			w.t.Logf("the outbox holds %q", have)
		}
	}()
	w.await("the outbox holds all messages", func() bool {
		have = nil
		for _, m := range w.node.outgoing(account, contact) {
			have = append(have, string(m.Payload))
		}
		return len(have) >= len(want)
	})
	if !slices.Equal(have, want) {
		w.t.Errorf("the outbox holds %q, want %q", have, want)
	}
}

// logBuffer keeps everything that was logged, and shows it in the test's output
// until the test ends: goroutines that bridgev2 leaves may still say something.
type logBuffer struct {
	mu     sync.Mutex
	text   bytes.Buffer
	output io.Writer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.output != nil {
		if _, err := b.output.Write(p); err != nil {
			return 0, err
		}
	}
	return b.text.Write(p)
}

func (b *logBuffer) end() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.output = nil
}

func (b *logBuffer) contains(text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.text.Bytes(), []byte(text))
}

// len is how much was logged, and containsAfter looks at what came after.
func (b *logBuffer) len() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.text.Len()
}

func (b *logBuffer) containsAfter(begin int, text string) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return bytes.Contains(b.text.Bytes()[begin:], []byte(text))
}

func contains(text, part string) bool { return strings.Contains(text, part) }

func isNotice(room id.RoomID, text string) func(*event.Event) bool {
	return func(evt *event.Event) bool {
		return evt.RoomID == room && evt.Type == event.EventMessage && strings.Contains(evt.Content.AsMessage().Body, text)
	}
}
