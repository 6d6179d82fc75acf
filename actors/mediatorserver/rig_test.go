// SPDX-License-Identifier: MPL-2.0

package mediatorserver_test

import (
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/test/phone"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Commands, tags, push codes and roles, from the description.
const (
	getNonce, auth, ping                                = 0x01, 0x02, 0x03
	createChat, deleteChat, updateInfo                  = 0x10, 0x11, 0x12
	addUser, deleteUser, leaveChat, userChats           = 0x20, 0x21, 0x22, 0x23
	sendMessage, deleteMessage, lastID, subscribe       = 0x30, 0x31, 0x33, 0x35
	messagesSince, sendInvite, inviteResponse           = 0x36, 0x40, 0x42
	updateMember, membersInfo, members, memberStatus    = 0x50, 0x52, 0x53, 0x55
	gotMessage, gotInvite, requestMember, gotMemberInfo = 0x32, 0x41, 0x51, 0x54

	pubkey, signature, nonceTag, counter                     = 0x01, 0x02, 0x03, 0x04
	chatID, messageID, guid, inviteID, sinceID, userKey      = 0x10, 0x11, 0x12, 0x13, 0x14, 0x15
	chatName, chatDesc, chatAvatar                           = 0x20, 0x21, 0x22
	blob, memberInfo, inviteData                             = 0x23, 0x24, 0x25
	limit, count, timestamp, perms, onlineTag, accepted      = 0x30, 0x31, 0x32, 0x33, 0x34, 0x35
	lastUpdate, lastSeen                                     = 0x36, 0x37
	owner, admin, moderator, user, readOnly, banned     byte = 0x80, 0x40, 0x20, 0x10, 0x08, 0x01
)

// The cast: two owners, each with a group, of which the other three are members.
var (
	alice = phone.IdentityOf("alice")
	bob   = phone.IdentityOf("bob")
	carol = phone.IdentityOf("carol")
	dave  = phone.IdentityOf("dave")
	eve   = phone.IdentityOf("eve") // a stranger
)

const (
	groupA = 0x0123456789abcdef // alice's
	groupB = 0x00fedcba98765432 // bob's
)

// rig is a mediator on a store of its own, and a network in memory.
type rig struct {
	t      testing.TB
	net    *memnet.Net
	key    identity.NodePrivateKey
	opts   mediatorserver.Options
	limits overlay.Limits
	// open opens the role's network; nil is one in memory.
	open func(identity.NodePrivateKey) (uplink.Network, error)
	disk vfs.FS
	dir  string
	// restored says that the store comes from a backup.
	restored bool
	// offset moves the wall clock.
	offset atomic.Int64

	store   *store.Store
	systems []*kernel.System // of the store and of the mediator
	writer  kernel.Ref
	ref     kernel.Ref
	cell    uplink.Cell
}

func newRig(t testing.TB, change ...func(*rig)) *rig {
	t.Helper()
	r := &rig{
		t: t, net: memnet.New(memnet.Options{}), key: identity.NewNodePrivateKey([32]byte{42}), disk: vfs.NewMem(), dir: "store",
		limits: overlay.Limits{Connections: 16_384, ConnectionsPerKey: 4096, HalfOpen: 4096, Backlog: 1024},
	}
	t.Cleanup(r.net.Close)
	for _, f := range change {
		f(r)
	}
	r.start()
	t.Cleanup(func() { r.stop() })
	return r
}

// newGroups is a rig with the two groups.
func newGroups(t testing.TB, change ...func(*rig)) *rig {
	t.Helper()
	r := newRig(t, change...)
	r.group(groupA, alice, bob, carol, dave)
	r.group(groupB, bob, alice, carol, dave)
	return r
}

func (r *rig) now() time.Time { return time.Now().Round(0).Add(time.Duration(r.offset.Load())) }

func (r *rig) start() {
	r.t.Helper()
	var err error
	if r.store, err = store.Open(store.Options{Dir: r.dir, FS: r.disk, Now: r.now}); err != nil {
		r.t.Fatal(err)
	}
	log := slog.New(slog.DiscardHandler)
	spawn := func(name string, actor func() kernel.Actor) kernel.Ref {
		system := kernel.NewSystem(kernel.Options{Logger: log})
		r.systems = append(r.systems, system)
		ref, err := system.Spawn(kernel.Spec{Name: name, Kind: name, New: actor, Backoff: kernel.Backoff{Forever: true}})
		if err != nil {
			r.t.Fatal(err)
		}
		return ref
	}
	r.writer = spawn("store", func() kernel.Actor { return store.NewActor(r.store) })
	marker := filepath.Join(r.t.TempDir(), "restored")
	if r.restored {
		r.restored = false
		if err := os.WriteFile(marker, nil, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
	opts := r.opts
	opts.OpenNetwork = r.open
	if r.open == nil {
		opts.OpenNetwork = func(key identity.NodePrivateKey) (uplink.Network, error) {
			return &network{Node: r.net.NodeAt(key.Key(), r.limits), failed: make(chan struct{})}, nil
		}
	}
	r.ref = spawn("mediator", func() kernel.Actor {
		return mediatorserver.NewActor(mediatorserver.Deps{
			Key: r.key, Cell: &r.cell, Store: r.store, Writer: r.writer, Restored: marker, Now: r.now, Log: log, Strangers: strangerlog.New(log),
		}, opts)
	})
	if _, err := mediatorserver.Status(r.t.Context(), r.ref); err != nil { // it listens
		r.t.Fatal(err)
	}
}

func (r *rig) stop() {
	if len(r.systems) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for _, system := range slices.Backward(r.systems) {
		if err := system.Stop(ctx); err != nil {
			r.t.Errorf("stop: %v", err)
		}
	}
	r.systems = nil
	// Whatever a test did, the rows agree with each other.
	if problems, err := r.store.Check(); err != nil || len(problems) > 0 {
		r.t.Errorf("check: %v, %v", problems, err)
	}
	if err := r.store.Close(); err != nil {
		r.t.Errorf("close: %v", err)
	}
}

// network is a memnet node as uplink.Network.
type network struct {
	*memnet.Node
	failed chan struct{}
}

func (n *network) Stream() overlay.Carrier { return n.Carrier }
func (n *network) Links() int              { return 1 }
func (n *network) Status() overlay.Status  { return overlay.Status{Key: n.Key()} }
func (n *network) Failed() <-chan struct{} { return n.failed }
func (n *network) Err() error              { return nil }

// do has the store carry out an operation, past the mediator.
func do[R any](r *rig, op store.Op) R {
	r.t.Helper()
	result, err := store.Do[R](r.t.Context(), r.writer, op)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

func id(who phone.Identity) identity.PublicKey { return identity.PublicKey(who.Key()) }

// group creates a group without its proof of work.
func (r *rig) group(chat uint64, owner phone.Identity, others ...phone.Identity) {
	r.t.Helper()
	do[bool](r, store.CreateMediatorGroup{Group: store.MediatorGroup{
		ID: mediator.ChatID(chat), Owner: id(owner), Name: fmt.Sprintf("group %x", chat), Description: "about",
	}})
	for _, who := range others {
		r.add(chat, owner, who)
	}
}

// add makes somebody a member. It leaves an event in the history.
func (r *rig) add(chat uint64, by, who phone.Identity) {
	r.t.Helper()
	do[store.MediatorMessage](r, store.AddMediatorMember{
		MediatorChange: store.MediatorChange{Mediator: identity.PublicKey(r.key.Key()), Group: mediator.ChatID(chat), Actor: id(by)}, User: id(who),
	})
}

// dial connects from a node of its own, without a login.
func (r *rig) dial() *client {
	r.t.Helper()
	return r.dialFrom(r.device())
}

// device is a node that connections come from.
func (r *rig) device() *memnet.Node {
	node := r.net.Node(overlay.Limits{})
	r.t.Cleanup(func() { _ = node.Close() })
	return node
}

func (r *rig) dialFrom(node overlay.Carrier) *client {
	r.t.Helper()
	conn, err := phone.DialMediator(r.t.Context(), node, r.key.Key())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(conn.Close)
	return &client{MediatorClient: conn, r: r}
}

// as connects and logs in.
func (r *rig) as(who phone.Identity) *client {
	r.t.Helper()
	c := r.dial()
	c.loginAs(who)
	return c
}

// in connects, logs in and subscribes to both groups.
func (r *rig) in(who phone.Identity) *client {
	r.t.Helper()
	c := r.as(who)
	c.ok(subscribe, phone.U64(chatID, groupA))
	c.ok(subscribe, phone.U64(chatID, groupB))
	return c
}

// client is a connection to the rig's mediator.
type client struct {
	*phone.MediatorClient
	r   *rig
	who phone.Identity
}

func (c *client) loginAs(who phone.Identity) {
	c.r.t.Helper()
	if err := c.Login(c.r.t.Context(), who); err != nil {
		c.r.t.Fatal(err)
	}
	c.who = who
}

// call returns the answer to a request.
func (c *client) call(command byte, fields ...phone.TLV) phone.MediatorFrame {
	c.r.t.Helper()
	f, err := c.Call(c.r.t.Context(), command, fields...)
	if err != nil {
		c.r.t.Fatalf("command %02x: %v", command, err)
	}
	return f
}

// ok is call for a request that is fulfilled.
func (c *client) ok(command byte, fields ...phone.TLV) phone.MediatorFrame {
	c.r.t.Helper()
	f := c.call(command, fields...)
	if f.Status != 0 {
		c.r.t.Fatalf("command %02x: refused: %s", command, f.Refusal())
	}
	return f
}

// refused is call for one that is refused with a text.
func (c *client) refused(text string, command byte, fields ...phone.TLV) {
	c.r.t.Helper()
	if f := c.call(command, fields...); f.Refusal() != text {
		c.r.t.Errorf("command %02x: status %d %x %q, want refusal %q", command, f.Status, f.Body, f.Refusal(), text)
	}
}

// send sends a message and returns its id.
func (c *client) send(chat uint64, number int64, text string) uint64 {
	c.r.t.Helper()
	f := c.ok(sendMessage, phone.U64(chatID, chat), phone.U64(guid, uint64(number)), phone.U64(timestamp, 1000), phone.TLV{Tag: blob, Value: []byte(text)})
	if got := int64(f.Number(guid)); got != number {
		c.r.t.Errorf("guid %d, want %d", got, number)
	}
	return f.Number(messageID)
}

// await waits for a push that fits.
func (c *client) await(what string, fits func(phone.MediatorFrame) bool) phone.MediatorFrame {
	c.r.t.Helper()
	ctx, cancel := context.WithTimeout(c.r.t.Context(), time.Minute)
	defer cancel()
	f, err := c.Await(ctx, fits)
	if err != nil {
		c.r.t.Fatalf("%s: %v", what, err)
	}
	return f
}

// event returns what fits to the push of an event about somebody in groupA.
func event(code byte, about phone.Identity) func(phone.MediatorFrame) bool {
	key := about.Key()
	return func(f phone.MediatorFrame) bool {
		b := f.Get(blob)
		return f.ID == gotMessage && f.Number(chatID) == groupA && len(b) > 33 && b[0] == code && string(b[1:33]) == string(key[:])
	}
}

func keyField(tag byte, who phone.Identity) phone.TLV {
	key := who.Key()
	return phone.TLV{Tag: tag, Value: key[:]}
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
