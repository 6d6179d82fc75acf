// SPDX-License-Identifier: MPL-2.0

package group_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/group"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	groupkey "github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/fakemediator"
	"github.com/mimird/mimird/test/virtual"
)

// maxAnswer bounds the answers of mediators.
const maxAnswer = 256 << 10

// rig is a node with two accounts that are in two groups each, at two mediators. Carol is
// another member of all groups.
type rig struct {
	t         testing.TB
	net       *memnet.Net
	node      *memnet.Node
	mediators [2]*fakemediator.Mediator
	accounts  [2]identity.PrivateKey
	carol     identity.PublicKey
	// chats[m] are the groups of mediator m, secrets their keys.
	chats   [2][2]*fakemediator.Chat
	secrets [2][2]fakemediator.Secret

	fs    *vfs.MemFS
	store *store.Store
	table *group.Table
	// connected are the mediators that accounts are connected to without a group.
	connected []identity.NodeKey
	system    *kernel.System
	writer    kernel.Ref
	// slow says that the disk is: what groups write is committed a second later.
	slow atomic.Bool
	guid int64
}

// Carrier and Up implement group.Network.
func (r *rig) Carrier(kind overlay.Kind) (overlay.Carrier, bool) {
	return r.node, kind == overlay.KindStream
}
func (r *rig) Up() bool { return true }

// Account, Refuses and Know implement group.Keys.
func (r *rig) Account(id identity.PublicKey) (identity.PrivateKey, bool) {
	for _, key := range r.accounts {
		if key.Public() == id {
			return key, true
		}
	}
	return identity.PrivateKey{}, false
}
func (r *rig) Refuses([32]byte) bool    { return false }
func (r *rig) Know(...identity.NodeKey) {}

// inBubble runs a test with a rig whose accounts are in all groups.
func inBubble(t *testing.T, test func(r *rig)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.start()
		r.addGroups()
		r.settled()
		test(r)
	})
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, net: memnet.New(memnet.Options{Seed: 1}), fs: vfs.NewCrashableMem()}
	t.Cleanup(r.net.Close)
	r.node = r.net.Node(overlay.Limits{})
	t.Cleanup(func() {
		if err := r.node.Close(); err != nil {
			t.Error(err)
		}
	})
	carol := identity.NewPrivateKey([32]byte{3})
	r.carol = carol.Public()
	for i := range r.accounts {
		r.accounts[i] = identity.NewPrivateKey([32]byte{1, byte(i)})
	}
	for m := range r.mediators {
		r.mediators[m] = fakemediator.New(t, r.net.Node(overlay.Limits{}))
		r.mediators[m].WorkNonce = workNonce()
		for g := range r.chats[m] {
			r.chats[m][g] = r.mediators[m].AddChat(fmt.Sprintf("Group %d%d", m, g), r.carol, r.accounts[0].Public(), r.accounts[1].Public())
			r.secrets[m][g] = fakemediator.Secret{byte(m + 1), byte(g + 1)}
		}
	}
	t.Cleanup(r.stop)
	return r
}

// workNonce is one for which the first signature of account 0 is a proof of work.
func workNonce() []byte {
	nonce := sha256.Sum256([]byte("50095"))
	return nonce[:]
}

// start opens the store and starts the actors.
func (r *rig) start() {
	r.t.Helper()
	s, err := store.Open(store.Options{Dir: "store", FS: r.fs, Now: time.Now})
	if err != nil {
		r.t.Fatal(err)
	}
	r.store, r.table = s, group.NewTable()
	r.system = kernel.NewSystem(kernel.Options{Logger: slog.New(slog.DiscardHandler)})
	started := make(chan kernel.Ref, 1)
	top, err := r.system.Spawn(kernel.Spec{Name: "root", Kind: "root", New: func() kernel.Actor { return &root{r: r, started: started} }})
	if err != nil {
		r.t.Fatal(err)
	}
	r.writer = <-started
	for i, key := range r.accounts {
		do[bool](r, store.PutAccount{Account: store.Account{ID: key.Public(), Name: fmt.Sprintf("Account %d", i)}})
	}
	top.Tell(startAccounts{})
}

// root is the node: the store and two accounts.
type root struct {
	r       *rig
	started chan<- kernel.Ref
	writer  kernel.Ref
}

func (x *root) Started(c *kernel.Context) error {
	r := x.r
	writer, err := c.Spawn(kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(r.store) }})
	if err != nil {
		return err
	}
	x.writer = writer
	x.started <- writer
	return nil
}

// startAccounts tells the root that the accounts are stored.
type startAccounts struct{}

func (x *root) Receive(c *kernel.Context, msg any) {
	if _, ok := msg.(startAccounts); !ok {
		return
	}
	r := x.r
	writer, err := c.Spawn(kernel.Spec{Name: "disk", Kind: "disk", New: func() kernel.Actor { return &disk{slow: &r.slow, store: x.writer, passed: make(map[uint64]write)} }})
	if err != nil {
		c.Fail(err)
	}
	for i, key := range r.accounts {
		deps := &group.Deps{
			Store: r.store, Writer: writer, Network: r, Now: time.Now, Log: strangerlog.New(slog.New(slog.DiscardHandler)), Keys: r, Table: r.table,
			Mediators: r.connected, Patience: time.Minute, MaxAnswer: maxAnswer,
			MediaOf: func(_ store.Group, a peer.Attachment, now store.Millis) *store.Media {
				return &store.Media{State: store.MediaDownloading, Size: a.Size, Due: now}
			},
		}
		spec := kernel.Spec{Name: fmt.Sprint("account-", i), Kind: "account", New: func() kernel.Actor { return &account{deps: deps, id: key.Public()} }}
		if _, err := c.Spawn(spec); err != nil {
			c.Fail(err)
		}
	}
}

// stop stops the actors and closes the store.
func (r *rig) stop() {
	if r.system == nil {
		return
	}
	if err := r.system.Stop(context.Background()); err != nil {
		r.t.Error(err)
	}
	r.system = nil
	if err := r.store.Close(); err != nil {
		r.t.Error(err)
	}
}

// kill ends the node as a power cut would, and starts another one on what is on the disk.
func (r *rig) kill() {
	r.t.Helper()
	left := r.fs.CrashClone(vfs.CrashCloneCfg{})
	r.stop()
	r.fs = left
	r.start()
}

// disk passes writes on to the store, a second later while it is slow.
type disk struct {
	slow    *atomic.Bool
	store   kernel.Ref
	waiting []write
	passed  map[uint64]write // by the token that the store has
	token   uint64
}

type write struct {
	from kernel.Ref
	msg  store.Write
}

// synced says that the second is over.
type synced struct{}

func (d *disk) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case store.Write:
		d.waiting = append(d.waiting, write{c.Sender(), msg})
		if !d.slow.Load() {
			d.pass(c)
		} else if len(d.waiting) == 1 {
			c.After(time.Second, synced{})
		}
	case synced:
		d.pass(c)
	case store.Written:
		of := d.passed[msg.Token]
		delete(d.passed, msg.Token)
		msg.Token = of.msg.Token
		c.Tell(of.from, msg)
	}
}

func (d *disk) pass(c *kernel.Context) {
	for _, w := range d.waiting {
		d.token++
		d.passed[d.token] = w
		c.Tell(d.store, store.Write{Token: d.token, Op: w.msg.Op})
	}
	d.waiting = nil
}

// account is what the account's actor does for its groups.
type account struct {
	deps   *group.Deps
	id     identity.PublicKey
	groups kernel.Ref
}

func (a *account) Started(c *kernel.Context) (err error) {
	a.deps.Store.WatchLog(c, a.id)
	a.groups, err = c.Spawn(group.NewSpec(a.deps, a.id))
	return err
}

func (a *account) Receive(c *kernel.Context, msg any) {
	changed, ok := msg.(store.LogChanged)
	if !ok {
		return
	}
	changed.Release()
	for conversation := range changed.Changes.Conversations {
		switch {
		case conversation.ID.Kind() == store.KindGroup:
			c.Tell(a.groups, group.Look{Group: conversation.ID})
		case conversation.ID.IsZero():
			c.Tell(a.groups, group.ProfileChanged{})
		}
	}
	if changed.Changes.All {
		c.Tell(a.groups, group.LookAll{})
	}
}

func do[R any](r *rig, op store.Op) R {
	r.t.Helper()
	result, err := store.Do[R](r.t.Context(), r.writer, op)
	if err != nil {
		r.t.Fatalf("%T: %v", op, err)
	}
	return result
}

// addGroups adds all groups to both accounts, as from the backup of a phone.
func (r *rig) addGroups() {
	r.t.Helper()
	for i := range r.accounts {
		for m := range r.chats {
			for g := range r.chats[m] {
				do[bool](r, store.AddGroup{
					Account: r.id(i), Mediator: r.mediators[m].Key(), Chat: uint64(r.chats[m][g].ID), Key: store.GroupKey(r.secrets[m][g]), Name: "group",
				})
			}
		}
	}
}

func (r *rig) id(account int) identity.PublicKey { return r.accounts[account].Public() }

// conversation is the name of a group.
func (r *rig) conversation(m, g int) store.ConversationID {
	return store.GroupConversation(r.mediators[m].Key(), uint64(r.chats[m][g].ID))
}

// until waits for a condition.
func (r *rig) until(what string, is func() bool) {
	r.t.Helper()
	for range 6000 {
		synctest.Wait()
		if is() {
			return
		}
		virtual.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("not within ten minutes: %s", what)
}

// settled waits until all groups are live.
func (r *rig) settled() {
	r.t.Helper()
	r.until("all groups are live", func() bool {
		for i := range r.accounts {
			for m := range r.chats {
				for g := range r.chats[m] {
					if r.progress(i, m, g).Stage != group.StageLive {
						return false
					}
				}
			}
		}
		return true
	})
}

func (r *rig) progress(i, m, g int) group.Progress {
	return r.table.Progress(store.Conversation{Account: r.id(i), ID: r.conversation(m, g)})
}

func (r *rig) group(i, m, g int) store.Group {
	r.t.Helper()
	found, err := r.store.Group(r.id(i), r.conversation(m, g))
	if err != nil {
		r.t.Fatal(err)
	}
	return found
}

// messages returns what an account has of a group, without the mediator's words.
func (r *rig) messages(i, m, g int) (found []store.Message) {
	r.t.Helper()
	all, err := r.store.Messages(r.id(i), r.conversation(m, g), 0, 0)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, msg := range all {
		if msg.Type != int32(peer.TypeSystem) {
			found = append([]store.Message{msg}, found...)
		}
	}
	return found
}

func (r *rig) texts(i, m, g int) (texts []string) {
	r.t.Helper()
	for _, msg := range r.messages(i, m, g) {
		texts = append(texts, string(msg.Payload))
	}
	return texts
}

// has waits until an account has these texts in a group, and no others.
func (r *rig) has(i, m, g int, want ...string) {
	r.t.Helper()
	ok := func() bool { return strings.Join(r.texts(i, m, g), "|") == strings.Join(want, "|") }
	for range 3000 {
		synctest.Wait()
		if ok() {
			return
		}
		virtual.Sleep(100 * time.Millisecond)
	}
	r.t.Fatalf("account %d has in group %d%d %q, want %q; it is %+v", i, m, g, r.texts(i, m, g), want, r.progress(i, m, g))
}

// say lets carol say something.
func (r *rig) say(m, g int, text string) fakemediator.Message {
	r.guid++
	return r.mediators[m].Say(r.chats[m][g], r.carol, r.guid, r.secrets[m][g].Text(r.guid, text))
}

// write queues a text of an account.
func (r *rig) write(i, m, g int, text string) {
	r.t.Helper()
	r.guid++
	do[store.Enqueued](r, store.EnqueueMessage{Account: r.id(i), Conversation: r.conversation(m, g), GUID: 1<<40*int64(i+1) + r.guid, Payload: []byte(text)})
}

// heard returns the texts of an account that a mediator has.
func (r *rig) heard(i, m, g int) (texts []string) {
	r.t.Helper()
	for _, x := range r.mediators[m].Of(r.chats[m][g], r.id(i)) {
		inner, err := r.secrets[m][g].Read(x.Blob)
		if err != nil {
			r.t.Fatal(err)
		}
		texts = append(texts, string(inner.Payload))
	}
	return texts
}

func (r *rig) checked() {
	r.t.Helper()
	if problems, err := r.store.Check(); err != nil || len(problems) > 0 {
		r.t.Errorf("check: %v %v", problems, err)
	}
}

// wrapped wraps a key for an invite with the code under test: the vectors of proto/group
// hold it to the protocol.
func wrapped(t testing.TB, secret fakemediator.Secret, to identity.PublicKey) []byte {
	t.Helper()
	data, err := groupkey.KeyOf(secret).Wrap(randomReader{}, to)
	if err != nil {
		t.Fatal(err)
	}
	return data[:]
}

// randomReader gives the same bytes each time.
type randomReader struct{}

func (randomReader) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(i + 1)
	}
	return len(p), nil
}
