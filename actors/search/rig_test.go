// SPDX-License-Identifier: MPL-2.0

package search_test

import (
	"context"
	"database/sql"
	"errors"
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
	"github.com/mimird/mimird/actors/search"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/poll"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The cast: two accounts with the same two contacts, and two groups each.
var (
	alice = key(0xa1)
	anna  = key(0xa2)
	bob   = key(0xb1)
	carol = key(0xc1)
	dave  = key(0xd1)
)

func key(b byte) (k identity.PublicKey) {
	for i := range k {
		k[i] = b
	}
	return k
}

const (
	day   = 24 * time.Hour
	party = 7
	works = 8
)

var (
	mediator = identity.NodeKey(key(0xee))
	began    = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
)

func with(contact identity.PublicKey) store.ConversationID { return store.ContactConversation(contact) }
func group(chat uint64) store.ConversationID               { return store.GroupConversation(mediator, chat) }

// rig is a store with its actor, and the index of it.
type rig struct {
	t       testing.TB
	dir     string
	store   *store.Store
	writer  kernel.Ref
	index   *kernel.System
	service *search.Service
	diskLow atomic.Bool
	guid    int64
	sent    time.Time
	places  map[store.Conversation]int64 // positions in groups
}

// node is the rig as what the index is made from.
type node struct {
	*store.Store
	rig *rig
}

func (n node) ConversationMessage(account identity.PublicKey, c store.ConversationID, id store.MessageID) (store.Message, error) {
	return n.Message(account, c, id)
}

func (n node) ConversationMessages(account identity.PublicKey, c store.ConversationID, before uint64, limit int) ([]store.Message, error) {
	return n.Messages(account, c, before, limit)
}

func (n node) WatchEvents() *store.Watch { return n.Watch(identity.PublicKey{}) }
func (n node) DiskLow() bool             { return n.rig.diskLow.Load() }

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{t: t, dir: t.TempDir(), sent: began, places: make(map[store.Conversation]int64)}
	s, err := store.Open(store.Options{Dir: "store", FS: vfs.NewMem(), Now: func() time.Time { return began.Add(100 * day) }})
	if err != nil {
		t.Fatal(err)
	}
	r.store = s
	system, writer := r.spawn("store", func() kernel.Actor { return store.NewActor(s) })
	r.writer = writer
	t.Cleanup(func() {
		r.stop()
		r.end(system)
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	for _, account := range []identity.PublicKey{alice, anna} {
		do[bool](r, store.PutAccount{Account: store.Account{ID: account, Name: "account"}})
		r.contact(account, bob, "Bob Builder")
		r.contact(account, carol, "Кэрол")
		do[bool](r, store.AddGroup{Account: account, Mediator: mediator, Chat: party, Key: store.GroupKey{1}, Name: "Party people"})
		do[bool](r, store.AddGroup{Account: account, Mediator: mediator, Chat: works, Key: store.GroupKey{2}, Name: "Works"})
	}
	r.start()
	return r
}

// spawn starts an actor in a system of its own.
func (r *rig) spawn(name string, make func() kernel.Actor) (*kernel.System, kernel.Ref) {
	r.t.Helper()
	system := kernel.NewSystem(kernel.Options{Logger: slog.New(slog.NewTextHandler(r.t.Output(), nil))})
	ref, err := system.Spawn(kernel.Spec{
		Name: name, Kind: "part", New: make, Backoff: kernel.Backoff{Min: time.Millisecond, Max: time.Millisecond, Forever: true},
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return system, ref
}

func (r *rig) end(system *kernel.System) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := system.Stop(ctx); err != nil {
		r.t.Error(err)
	}
}

// start starts the index, for the first time or after stop.
func (r *rig) start() {
	r.t.Helper()
	r.service = search.New(r.dir)
	r.index, _ = r.spawn("search", func() kernel.Actor { return r.service.NewActor(node{r.store, r}) })
}

// stop ends the index, and does nothing the second time.
func (r *rig) stop() {
	r.t.Helper()
	if r.index != nil {
		r.end(r.index)
	}
	r.index = nil
}

func do[R any](r *rig, op store.Op) R {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := store.Do[R](ctx, r.writer, op)
	if err != nil {
		r.t.Fatalf("%T: %v", op, err)
	}
	return result
}

func (r *rig) contact(account, contact identity.PublicKey, name string) {
	r.t.Helper()
	do[store.Added](r, store.AddContact{Contact: store.Contact{Account: account, ID: contact, State: store.ContactAccepted, Nickname: name}})
}

// next is the time of the next message, a minute after the last one.
func (r *rig) next() store.Millis {
	r.sent = r.sent.Add(time.Minute)
	r.guid++
	return store.MillisOf(r.sent)
}

// says stores a message of a contact.
func (r *rig) says(account, contact identity.PublicKey, text string) {
	r.t.Helper()
	at := r.next()
	do[store.Accepted](r, store.AcceptMessage{Account: account, Conversation: with(contact), GUID: r.guid, SendTime: at, Payload: []byte(text)})
}

// sendsFile stores a message of a contact with a file.
func (r *rig) sendsFile(account, contact identity.PublicKey, name, caption string) {
	r.t.Helper()
	at := r.next()
	payload := []byte(`{"name":"qwertz","originalName":"` + name + `","text":"` + caption + `","size":5}`)
	do[store.Accepted](r, store.AcceptMessage{
		Account: account, Conversation: with(contact), GUID: r.guid, Type: int32(peer.TypeFile), SendTime: at, Payload: payload,
	})
}

// writes queues a message of the account itself.
func (r *rig) writes(account identity.PublicKey, to store.ConversationID, text string) {
	r.t.Helper()
	at := r.next()
	do[store.Enqueued](r, store.EnqueueMessage{Account: account, Conversation: to, GUID: r.guid, SendTime: at, Payload: []byte(text)})
}

// inGroup stores a message of a member.
func (r *rig) inGroup(account identity.PublicKey, chat uint64, author identity.PublicKey, text string, change ...func(*store.GroupMessage)) int64 {
	r.t.Helper()
	c := store.Conversation{Account: account, ID: group(chat)}
	at := r.next()
	m := store.GroupMessage{Number: r.places[c] + 1, GUID: r.guid, ServerGUID: r.guid, Author: author, SendTime: at, Payload: []byte(text)}
	for _, change := range change {
		change(&m)
	}
	do[store.GroupAccepted](r, store.AcceptGroupMessages{
		Account: account, Group: c.ID, Since: r.places[c], Upto: m.Number, Messages: []store.GroupMessage{m}, Received: at,
	})
	r.places[c] = m.Number
	return m.GUID
}

// ask searches, when the index has read everything.
func (r *rig) ask(q search.Query) search.Results {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	var out search.Results
	complete := poll.Until(ctx, func() bool {
		var err error
		out, err = r.service.Search(ctx, q)
		if err != nil && !errors.Is(err, search.ErrNotReady) {
			r.t.Fatalf("%+v: %v", q, err)
		}
		return err == nil && out.Unread == 0
	})
	if !complete {
		r.t.Fatalf("the index has not read everything: %+v", out)
	}
	return out
}

func textsOf(out search.Results) (texts []string) {
	for _, hit := range out.Messages {
		texts = append(texts, string(hit.Message.Payload))
	}
	return texts
}

// wants searches and compares the texts that are found, the latest first.
func (r *rig) wants(q search.Query, want ...string) {
	r.t.Helper()
	if got := textsOf(r.ask(q)); !slices.Equal(got, want) {
		r.t.Errorf("%q of %s: %q, want %q", q.Words, q.Account.Short(), got, want)
	}
}

func (r *rig) file() string { return filepath.Join(r.dir, search.DirName, "index.db") }

func (r *rig) size() (size int64) {
	for _, suffix := range []string{"", "-wal"} {
		if info, err := os.Stat(r.file() + suffix); err == nil {
			size += info.Size()
		}
	}
	return size
}

func (r *rig) must(err error) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
}

// open opens the file beside the index.
func (r *rig) open() *sql.DB {
	r.t.Helper()
	db, err := sql.Open("sqlite", "file:"+r.file()+"?_pragma=busy_timeout(5000)")
	r.must(err)
	return db
}

func (r *rig) sql(statements ...string) {
	r.t.Helper()
	db := r.open()
	defer func() { r.must(db.Close()) }()
	for _, statement := range statements {
		_, err := db.ExecContext(r.t.Context(), statement)
		r.must(err)
	}
}

func (r *rig) count(query string) (n int) {
	r.t.Helper()
	db := r.open()
	defer func() { r.must(db.Close()) }()
	r.must(db.QueryRowContext(r.t.Context(), query).Scan(&n))
	return n
}

// copyFiles reads the files of the index while it is open.
func (r *rig) copyFiles() map[string][]byte {
	r.t.Helper()
	files := make(map[string][]byte)
	entries, err := os.ReadDir(filepath.Dir(r.file()))
	r.must(err)
	for _, entry := range entries {
		raw, err := os.ReadFile(filepath.Join(filepath.Dir(r.file()), entry.Name()))
		r.must(err)
		files[entry.Name()] = raw
	}
	return files
}

// putFiles puts them back.
func (r *rig) putFiles(files map[string][]byte) {
	r.t.Helper()
	r.must(os.RemoveAll(filepath.Dir(r.file())))
	r.must(os.Mkdir(filepath.Dir(r.file()), 0o700))
	for name, raw := range files {
		r.must(os.WriteFile(filepath.Join(filepath.Dir(r.file()), name), raw, 0o600))
	}
}
