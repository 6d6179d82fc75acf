// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/kernel/kerneltest"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// queueRig is a queue of transfers over a store of its own.
type queueRig struct {
	t       *testing.T
	queue   queue
	writer  kernel.Ref
	account identity.PublicKey
	now     time.Time
	guid    int64
	active  map[string]store.Conversation
	resting map[string]time.Duration
}

func newQueueRig(t *testing.T, contacts ...identity.PublicKey) *queueRig {
	t.Helper()
	opened, err := store.Open(store.Options{Dir: "store", FS: vfs.NewMem()})
	if err != nil {
		t.Fatal(err)
	}
	stage := kerneltest.NewStage(t, kernel.Options{})
	r := &queueRig{
		t: t, queue: queue{opened, 4}, account: identity.PublicKey{1}, now: time.Unix(1_800_000_000, 0),
		active: make(map[string]store.Conversation), resting: make(map[string]time.Duration),
		writer: stage.Spawn(t, kernel.Spec{Name: "store", Kind: "store", New: func() kernel.Actor { return store.NewActor(opened) }}),
	}
	t.Cleanup(func() {
		stage.Stop(r.writer)
		kerneltest.Await[kernel.ChildStopped](t, stage.Probe, time.Minute)
		if err := opened.Close(); err != nil {
			t.Error(err)
		}
	})
	queueDo[bool](r, store.PutAccount{Account: store.Account{ID: r.account, Created: 1}})
	for _, contact := range contacts {
		queueDo[store.Added](r, store.AddContact{Contact: store.Contact{Account: r.account, ID: contact, State: store.ContactAccepted}})
	}
	return r
}

func queueDo[R any](r *queueRig, op store.Op) R {
	r.t.Helper()
	result, err := store.Do[R](context.Background(), r.writer, op)
	if err != nil {
		r.t.Fatal(err)
	}
	return result
}

// download queues a file of a contact, and upload one for a contact.
func (r *queueRig) download(contact identity.PublicKey, due time.Time) {
	r.t.Helper()
	r.guid++
	queueDo[store.Accepted](r, store.AcceptMessage{
		Account: r.account, Conversation: store.ContactConversation(contact), GUID: r.guid, Payload: []byte("{}"),
		Media: &store.Media{State: store.MediaDownloading, Due: store.MillisOf(due)},
	})
}

func (r *queueRig) upload(contact identity.PublicKey, due time.Time) {
	r.t.Helper()
	r.guid++
	queueDo[store.Enqueued](r, store.EnqueueFile{
		Message: store.EnqueueMessage{Account: r.account, Conversation: store.ContactConversation(contact), GUID: r.guid, Payload: []byte("{}")},
		Media:   store.Media{State: store.MediaUploading, Due: store.MillisOf(due)},
	})
}

func (r *queueRig) next() choice {
	r.t.Helper()
	choice, err := r.queue.next(r.account, r.now, r.active, func(name string) time.Duration { return r.resting[name] })
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range choice.files {
		r.active[transferName(m)] = store.ConversationWith(m.Account, m.Conversation.Contact())
	}
	return choice
}

// expect compares what is to be started with a list of directions and contacts.
func (r *queueRig) expect(choice choice, want ...string) {
	r.t.Helper()
	var have []string
	for _, m := range choice.files {
		have = append(have, fmt.Sprintf("%s %d", m.State, m.Conversation.Contact()[0]))
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		r.t.Errorf("started are %v, want %v", have, want)
	}
}

var (
	slowContact  = identity.PublicKey{10}
	quickContact = identity.PublicKey{11}
	thirdContact = identity.PublicKey{12}
)

// A thousand files of one contact that are due do not hide the file of another, or
// our own upload.
func TestTransferQueue_ManyFilesOfOneContactHideNoOther(t *testing.T) {
	r := newQueueRig(t, slowContact, quickContact, thirdContact)
	for range 1000 {
		r.download(slowContact, r.now.Add(-time.Hour))
	}
	first := r.next()
	r.expect(first, "downloading 10", "downloading 10")
	r.download(quickContact, r.now)
	r.expect(r.next(), "downloading 11") // a place is left for uploads
	r.upload(thirdContact, r.now)
	r.expect(r.next(), "uploading 12")
}

func TestTransferQueue_UploadsFirstAndConversationsInTurn(t *testing.T) {
	r := newQueueRig(t, slowContact, quickContact, thirdContact)
	for range 3 {
		r.download(slowContact, r.now.Add(-3*time.Second))
		r.upload(slowContact, r.now.Add(-2*time.Second))
		r.download(quickContact, r.now.Add(-2*time.Second))
		r.upload(thirdContact, r.now.Add(-time.Second))
	}
	r.expect(r.next(), "uploading 10", "uploading 12", "uploading 12", "uploading 10")
	if choice := r.next(); len(choice.files) > 0 || !choice.more {
		t.Errorf("%+v", choice)
	}
	clear(r.active)
	r.active["other account 1"], r.active["other account 2"] = store.Conversation{}, store.Conversation{}
	r.expect(r.next(), "uploading 10", "uploading 12")
}

func TestTransferQueue_SaysWhenTheNextOneIsDue(t *testing.T) {
	r := newQueueRig(t, slowContact, quickContact)
	if choice := r.next(); choice.wait >= 0 || choice.more {
		t.Errorf("an empty queue: %+v", choice)
	}
	r.download(slowContact, r.now.Add(time.Minute))
	if choice := r.next(); len(choice.files) > 0 || choice.wait != time.Minute {
		t.Errorf("%+v", choice)
	}
	// The clock was set back by a day.
	r.download(quickContact, r.now.Add(24*time.Hour))
	choice := r.next()
	r.expect(choice, "downloading 11")
	if choice.wait != time.Minute {
		t.Errorf("waits for %v", choice.wait)
	}
	// One that has failed without noting it rests.
	clear(r.active)
	for _, m := range choice.files {
		r.resting[transferName(m)] = 10 * time.Second
	}
	if choice = r.next(); len(choice.files) > 0 || choice.wait != 10*time.Second {
		t.Errorf("%+v", choice)
	}
}

// Beyond a bound the files of a contact are not fetched by themselves.
func TestTransferQueue_BoundPerContact(t *testing.T) {
	r := newQueueRig(t, slowContact, quickContact)
	for range maxWaitingFiles - 1 {
		r.download(slowContact, r.now)
	}
	r.download(quickContact, r.now)
	r.upload(slowContact, r.now)
	e := &Service{deps: Deps{Store: r.queue.store}}
	for _, want := range []bool{false, true, true} {
		if many, err := e.hasManyFiles(store.ConversationWith(r.account, slowContact)); err != nil || many != want {
			t.Errorf("%v, %v, want %v", many, err, want)
		}
		r.download(slowContact, r.now)
	}
	if many, err := e.hasManyFiles(store.ConversationWith(r.account, quickContact)); err != nil || many {
		t.Errorf("another contact: %v, %v", many, err)
	}
}
