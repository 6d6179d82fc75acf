// SPDX-License-Identifier: MPL-2.0

package forward_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/forward"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/virtual"
)

// desk is the forwarders of two accounts on a store without a node. Nothing leaves it: what
// is queued stays in the outboxes, where the test reads it.
type desk struct {
	t        *testing.T
	store    *store.Store
	writer   kernel.Ref
	files    *files
	accounts []identity.PublicKey
	homes    []identity.PublicKey
	people   []identity.PublicKey
	guid     int64
	stop     func()
}

// files are the files of messages: each is here, and those of some people cannot be read.
type files struct {
	desk   *desk
	broken map[store.ConversationID]bool // of the messages, or of what they quote
}

var errUnreadable = errors.New("the disk does not read it")

func (f *files) State(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (transfer.Info, error) {
	return transfer.Info{Account: account, Conversation: conversation, Message: id, State: store.MediaStored, Name: "notes.txt"}, nil
}

func (f *files) Open(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (io.ReadSeekCloser, transfer.Info, error) {
	info, err := f.State(account, conversation, id)
	return noContent{strings.NewReader("notes")}, info, err
}

type noContent struct{ *strings.Reader }

func (noContent) Close() error { return nil }

func (f *files) Fetch(context.Context, identity.PublicKey, store.ConversationID, store.MessageID) (transfer.Info, error) {
	return transfer.Info{}, transfer.ErrNoMedia
}

func (f *files) Send(ctx context.Context, m store.EnqueueMessage, file transfer.File) (store.Message, error) {
	for conversation := range f.broken {
		if m.Conversation == conversation || strings.Contains(m.Source, conversation.String()) {
			return store.Message{}, errUnreadable
		}
	}
	m.Type, m.Payload = int32(peer.TypeFile), []byte(file.Name)
	queued, err := store.Do[store.Enqueued](ctx, f.desk.writer, m)
	return queued.Message, err
}

func newDesk(t *testing.T, people int) *desk {
	t.Helper()
	d := &desk{t: t}
	d.files = &files{desk: d, broken: make(map[store.ConversationID]bool)}
	s, err := store.Open(store.Options{Dir: "store", FS: vfs.NewMem(), Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	d.store = s
	var end func()
	d.writer, end = d.spawn(kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(s) }})
	t.Cleanup(func() {
		d.stop()
		end()
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	key := func(kind byte, i int) identity.PublicKey {
		return identity.NewPrivateKey([32]byte{kind, byte(i)}).Public()
	}
	for i := range people {
		d.people = append(d.people, key(3, i))
	}
	for i := range 2 {
		d.accounts, d.homes = append(d.accounts, key(1, i)), append(d.homes, key(2, i))
		for _, id := range []identity.PublicKey{d.accounts[i], d.homes[i]} {
			do[bool](d, store.PutAccount{Account: store.Account{ID: id, Name: fmt.Sprint("account ", i)}})
		}
		for p, id := range d.people {
			do[store.Added](d, store.AddContact{Contact: store.Contact{
				Account: d.accounts[i], ID: id, State: store.ContactAccepted, Nickname: fmt.Sprint("person ", p),
			}})
		}
	}
	d.start()
	return d
}

func (d *desk) spawn(specs ...kernel.Spec) (ref kernel.Ref, stop func()) {
	d.t.Helper()
	system := kernel.NewSystem(kernel.Options{Logger: actorstest.Logger(d.t, "desk")})
	for _, spec := range specs {
		var err error
		if ref, err = system.Spawn(spec); err != nil {
			d.t.Fatal(err)
		}
	}
	return ref, func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := system.Stop(ctx); err != nil {
			d.t.Error(err)
		}
	}
}

// start starts the forwarders, which begin at the end of the log when it is the first time.
func (d *desk) start() {
	d.t.Helper()
	deps := &forward.Deps{Store: d.store, Writer: d.writer, Files: d.files, Now: time.Now}
	root := &root{store: d.store, accounts: d.accounts}
	for i := range d.accounts {
		spec := forward.NewSpec(deps, d.accounts[i], d.homes[i])
		spec.Name = fmt.Sprint(spec.Name, i)
		root.specs = append(root.specs, spec)
	}
	_, d.stop = d.spawn(kernel.Spec{Name: "root", Kind: "root", New: func() kernel.Actor { return root }})
	synctest.Wait()
}

// root has the forwarders as children, and tells them of events as the actors of accounts do.
type root struct {
	store    *store.Store
	accounts []identity.PublicKey
	specs    []kernel.Spec
}

func (r *root) Started(c *kernel.Context) error {
	r.store.WatchLog(c, identity.PublicKey{})
	for _, spec := range r.specs {
		if _, err := c.Spawn(spec); err != nil {
			return err
		}
	}
	return nil
}

func (r *root) Receive(c *kernel.Context, msg any) {
	if changed, is := msg.(store.LogChanged); is {
		changed.Release()
		for _, spec := range r.specs {
			if child, ok := c.Child(spec.Name); ok {
				c.Tell(child, forward.Look{})
			}
		}
	}
}

func (*root) Stopping(*kernel.Context) {}

func do[R any](d *desk, op store.Op) R {
	d.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	result, err := store.Do[R](ctx, d.writer, op)
	if err != nil {
		d.t.Fatalf("%T: %v", op, err)
	}
	return result
}

// says has somebody write to an account, or the phone of an account to home.
func (d *desk) says(account, from identity.PublicKey, quote int64, text string) {
	d.t.Helper()
	d.accept(store.AcceptMessage{Account: account, Conversation: store.ContactConversation(from), ReplyTo: quote, Payload: []byte(text)})
}

func (d *desk) sendsFile(account, from identity.PublicKey, quote int64) {
	d.t.Helper()
	d.accept(store.AcceptMessage{
		Account: account, Conversation: store.ContactConversation(from), ReplyTo: quote, Type: int32(peer.TypeFile),
		Payload: []byte(`{"name":"qwertz","originalName":"notes.txt","size":5}`),
	})
}

func (d *desk) accept(m store.AcceptMessage) {
	d.t.Helper()
	d.guid++
	m.GUID, m.SendTime, m.Received = d.guid, store.MillisOf(time.Now()), store.MillisOf(time.Now())
	do[store.Accepted](d, m)
}

// queued are the messages that an account has queued for somebody, in their order.
func (d *desk) queued(account, to identity.PublicKey) []store.Message {
	d.t.Helper()
	all, err := d.store.Messages(account, store.ContactConversation(to), 0, 0)
	if err != nil {
		d.t.Fatal(err)
	}
	slices.Reverse(all)
	return slices.DeleteFunc(all, func(m store.Message) bool { return m.ID.Dir != store.Out })
}

// wants checks what an account has queued for somebody. Events are on their way for a moment.
func (d *desk) wants(account, to identity.PublicKey, want ...string) {
	d.t.Helper()
	var got []string
	for _, m := range d.queued(account, to) {
		got = append(got, string(m.Payload))
	}
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		d.t.Errorf("queued: %q, want %q", got, want)
	}
}

// forwarded has people write to an account and returns the guids that the phone has of it.
func (d *desk) forwarded(a int) (guids []int64) {
	d.t.Helper()
	for _, person := range d.people {
		d.says(d.accounts[a], person, 0, "hello")
	}
	d.pass()
	for _, m := range d.queued(d.homes[a], d.accounts[a]) {
		guids = append(guids, m.ID.GUID)
	}
	if len(guids) != len(d.people) {
		d.t.Fatalf("%d of %d are forwarded", len(guids), len(d.people))
	}
	return guids
}

// pass sleeps for a second, until every goroutine waits again.
func (d *desk) pass() {
	virtual.Sleep(time.Second)
	synctest.Wait()
}

// A file of the phone that cannot be read holds only the answers to the same person, in
// their order, until it is given up after ten attempts. Those to others and sentences to the
// phone go on, and so does the other account.
func TestFlow_FileCannotBeCopied_OthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 2)
		first, second := store.ContactConversation(d.people[0]), d.people[1]
		d.files.broken[first] = true
		quotes := [][]int64{d.forwarded(0), d.forwarded(1)}
		for a, account := range d.accounts {
			d.sendsFile(d.homes[a], account, quotes[a][0])
			d.says(d.homes[a], account, quotes[a][0], "behind the file")
			d.says(d.homes[a], account, quotes[a][1], "to the other")
			d.sendsFile(d.homes[a], account, quotes[a][1])
			d.says(d.homes[a], account, 0, "to nobody")
			d.says(d.homes[a], account, quotes[a][1], "to the other, too")
		}
		d.pass()
		for a, account := range d.accounts {
			d.wants(account, d.people[0])
			d.wants(account, second, "to the other", "notes.txt", "to the other, too")
			d.wants(d.homes[a], account, "person 0: hello", "person 1: hello", "Sent to nobody: ")
		}
		virtual.Sleep(5 * time.Minute)
		for _, account := range d.accounts {
			d.wants(account, d.people[0])
			d.says(d.homes[slices.Index(d.accounts, account)], account, quotes[slices.Index(d.accounts, account)][0], "later")
		}
		virtual.Sleep(4 * time.Minute)
		for a, account := range d.accounts {
			d.wants(account, d.people[0], "behind the file", "later")
			d.wants(d.homes[a], account, "person 0: hello", "person 1: hello", "Sent to nobody: ", "Not sent: the node does not get this file (")
		}
	})
}

// Events that are held are handled again after a restart, in order, and nobody receives a
// message twice, also when the file can be read by then.
func TestFlow_RestartWhileHeld_SentOnceInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 2)
		d.files.broken[store.ContactConversation(d.people[0])] = true
		quotes := [][]int64{d.forwarded(0), d.forwarded(1)}
		for a, account := range d.accounts {
			d.sendsFile(d.homes[a], account, quotes[a][0])
			d.says(d.homes[a], account, quotes[a][0], "behind the file")
			d.says(d.homes[a], account, quotes[a][1], "to the other")
			d.says(d.homes[a], account, 0, "to nobody")
		}
		d.pass()
		d.stop()
		// The other one is blocked after the answer was queued.
		for _, account := range d.accounts {
			do[bool](d, store.SetContactState{Account: account, Contact: d.people[1], State: store.ContactBlocked})
		}
		clear(d.files.broken)
		d.start()
		d.pass()
		for a, account := range d.accounts {
			d.wants(account, d.people[0], "notes.txt", "behind the file")
			d.wants(account, d.people[1], "to the other")
			d.wants(d.homes[a], account, "person 0: hello", "person 1: hello", "Sent to nobody: ")
			last, err := d.store.LastEvent(d.homes[a])
			at, failed := d.store.Cursor(forward.AnswerConsumer, d.homes[a], store.ContactConversation(account))
			if err := errors.Join(err, failed); err != nil {
				t.Fatal(err)
			}
			events, err := d.store.ConversationEvents(d.homes[a], store.ContactConversation(account), at, 100)
			for _, e := range events {
				if e.Kind == store.MessageReceived || err != nil {
					t.Errorf("the cursor is at %d of %d: event %+v was not dealt with, %v", at, last, e, err)
				}
			}
		}
	})
}

// Of a file from somebody that cannot be copied for the phone the same is true: what others
// write is on the phone meanwhile.
func TestFlow_ForwardedFileCannotBeCopied_OthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, 2)
		d.files.broken[store.ContactConversation(d.people[0])] = true
		for _, account := range d.accounts {
			d.sendsFile(account, d.people[0], 0)
			d.says(account, d.people[0], 0, "behind the file")
			d.says(account, d.people[1], 0, "of the other")
		}
		d.pass()
		for a, account := range d.accounts {
			d.wants(d.homes[a], account, "person 1: of the other")
		}
		virtual.Sleep(10 * time.Minute)
		for a, account := range d.accounts {
			d.wants(d.homes[a], account, "person 1: of the other", "person 0: [notes.txt is not here: ", "person 0: behind the file")
		}
	})
}

// With too many people whose files cannot be read the flow reads no further, and goes on when
// they are given up. Nothing is left out.
func TestFlow_TooManyHeld_GoesOnLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, forward.MaxLanesForTest+2)
		quotes := [][]int64{d.forwarded(0), d.forwarded(1)}
		last := len(d.people) - 1
		for p := range last {
			d.files.broken[store.ContactConversation(d.people[p])] = true
		}
		for a, account := range d.accounts {
			for p := range d.people {
				d.sendsFile(d.homes[a], account, quotes[a][p])
				d.says(d.homes[a], account, quotes[a][p], "behind the file")
			}
		}
		d.pass()
		for _, account := range d.accounts {
			d.wants(account, d.people[last])
		}
		virtual.Sleep(10 * time.Minute)
		for _, account := range d.accounts {
			d.wants(account, d.people[last], "notes.txt", "behind the file")
			d.wants(account, d.people[0], "behind the file")
			d.wants(account, d.people[last-1])
		}
		virtual.Sleep(10 * time.Minute)
		for _, account := range d.accounts {
			d.wants(account, d.people[last-1], "behind the file")
		}
	})
}
