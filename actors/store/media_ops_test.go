// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
)

// outgoing queues a file of alice for bob.
func outgoing(r *rig, guid int64, source string) store.Message {
	r.t.Helper()
	message := enqueue(guid, "draft", source)
	return must[store.Enqueued](r, store.EnqueueFile{
		Message: message, Media: store.Media{Hash: media.Hash{1}, Size: 10, MIMEType: "image/png"},
	}).Message
}

// TestFileIsHeldUntilUploaded follows a file from the outbox to the contact.
func TestFileIsHeldUntilUploaded(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	m := outgoing(r, 1, "source")
	again := outgoing(r, 1, "source")
	if !m.Held || again.Order != m.Order {
		t.Errorf("%+v, again %+v", m, again)
	}
	queue := r.transfers(alice)
	if len(queue) != 1 || queue[0].State != store.MediaUploading || queue[0].Hash != (media.Hash{1}) || queue[0].Message != m.ID {
		t.Fatalf("%+v", queue)
	}
	r.checked()

	later := queue[0]
	later.Due, later.Attempts, later.Key = 5_000_000_000_000, 1, files.Key{7}
	before := r.lastSeq(alice)
	if !must[bool](r, store.ChangeMedia{From: store.MediaUploading, Media: later}) || r.lastSeq(alice) != before {
		t.Error("a delay is not an event")
	}
	r.checked()

	done := later
	done.State = store.MediaStored
	if !must[bool](r, store.ChangeMedia{From: store.MediaUploading, Media: done, Payload: []byte("with key")}) {
		t.Error("nothing written")
	}
	if must[bool](r, store.ChangeMedia{From: store.MediaUploading, Media: done, Payload: []byte("with another")}) {
		t.Error("uploaded twice")
	}
	if kinds := r.kinds(alice, before); !slices.Equal(kinds, []store.EventKind{store.MediaChanged}) {
		t.Errorf("%v", kinds)
	}
	outbox := get[[]store.Message](r)(r.store.Outbox(alice, store.ContactConversation(bob), 0, 0))
	if len(outbox) != 1 || outbox[0].Held || string(outbox[0].Payload) != "with key" {
		t.Errorf("%+v", outbox)
	}
	got := get[store.Media](r)(r.store.Media(alice, store.ContactConversation(bob), m.ID))
	if got.Seq != r.lastSeq(alice) || got.Key != (files.Key{7}) {
		t.Errorf("%+v", got)
	}
	r.checked()

	// The file has expired before it could be sent: held once more.
	renewed := got
	renewed.State, renewed.Due = store.MediaUploading, 1
	must[bool](r, store.ChangeMedia{From: store.MediaStored, Media: renewed, Hold: true})
	if outbox = get[[]store.Message](r)(r.store.Outbox(alice, store.ContactConversation(bob), 0, 0)); !outbox[0].Held {
		t.Error("not held")
	}
	r.checked()
	must[bool](r, store.MarkDelivered{Account: alice, Conversation: store.ContactConversation(bob), GUID: 1})
	r.checked()
	r.restart()
	if queue = r.transfers(alice); len(queue) != 1 {
		t.Errorf("%+v", queue)
	}
}

// TestAcceptedMessageBringsItsFile: once, in the same commit.
func TestAcceptedMessageBringsItsFile(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	op := accept(5, "attachment")
	op.Media = &store.Media{State: store.MediaDownloading, Size: 3, Due: 9}
	id := must[store.Accepted](r, op).ID
	if got := must[store.Accepted](r, op); !got.Duplicate {
		t.Errorf("%+v", got)
	}
	m := get[store.Media](r)(r.store.Media(alice, store.ContactConversation(bob), id))
	if m.State != store.MediaDownloading || m.Seq != r.lastSeq(alice) || m.Added == 0 {
		t.Errorf("%+v", m)
	}
	count := 0
	if err := r.store.EachMedia(alice, func(store.Media) error { count++; return nil }); err != nil || count != 1 {
		t.Errorf("%d files, %v", count, err)
	}
	r.checked()
	must[bool](r, store.RemoveContact{Account: alice, Contact: bob})
	if queue := r.transfers(alice); len(queue) != 0 {
		t.Errorf("%+v", queue)
	}
	if _, err := r.store.Media(alice, store.ContactConversation(bob), id); !errors.Is(err, store.ErrNotFound) {
		t.Error(err)
	}
	r.checked()
}

// TestUnknownFileCountsAsOffered: messages from before there were rows for files.
func TestUnknownFileCountsAsOffered(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	id := must[store.Accepted](r, accept(5, "attachment")).ID
	m := store.Media{Account: alice, Conversation: store.ContactConversation(bob), Message: id, State: store.MediaDownloading, Asked: true}
	if must[bool](r, store.ChangeMedia{From: store.MediaStored, Media: m}) {
		t.Error("it was never stored")
	}
	if !must[bool](r, store.ChangeMedia{From: store.MediaOffered, Media: m}) {
		t.Error("nothing written")
	}
	m.Message.GUID = 6
	if _, err := do[bool](r, store.ChangeMedia{From: store.MediaOffered, Media: m}); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a message that does not exist: %v", err)
	}
	r.checked()
}

func TestQueueIsOrderedByTime(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	for i, due := range []store.Millis{300, 100, 200} {
		op := accept(int64(i+1), guidText(int64(i)))
		op.Media = &store.Media{State: store.MediaDownloading, Due: due}
		must[store.Accepted](r, op)
	}
	var order []store.Millis
	for _, m := range r.transfers(alice) {
		order = append(order, m.Due)
	}
	if !slices.Equal(order, []store.Millis{100, 200, 300}) {
		t.Errorf("%v", order)
	}
}

func TestHostedFiles(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	must[bool](r, store.PutHosted{File: store.HostedFile{Hash: files.Hash{2}, Owner: bob, GUID: 3, Size: 4}})
	all := get[[]store.HostedFile](r)(r.store.HostedFiles())
	if len(all) != 1 || all[0].Owner != bob || all[0].Added == 0 {
		t.Errorf("%+v", all)
	}
	r.checked()
	if !must[bool](r, store.RemoveHosted{Hash: files.Hash{2}}) || must[bool](r, store.RemoveHosted{Hash: files.Hash{2}}) {
		t.Error("removed not once")
	}
}

// transfers are the files of an account that are to be transferred, in their order.
func (r *rig) transfers(account identity.PublicKey) (queue []store.Media) {
	r.t.Helper()
	err := r.store.EachTransfer(account, 0, func(next store.Transfer) bool {
		queue = append(queue, get[store.Media](r)(r.store.Media(next.Account, next.Conversation, next.Message)))
		return true
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return queue
}

// The index by age has the stored files of all accounts, oldest first, and follows every
// change of a row; the index by hash has those too that wait to be uploaded.
func TestStoredFiles_ByAgeAndHash_FollowTheRows(t *testing.T) {
	r := newPeopledRig(t, store.Options{})
	received := func(account identity.PublicKey, guid int64, at store.Millis, hash byte) {
		op := accept(guid, "a file")
		op.Account, op.Received = account, at
		op.Media = &store.Media{State: store.MediaStored, Hash: media.Hash{hash}, Size: 1}
		must[store.Accepted](r, op)
	}
	ages := func() (found []store.Millis) {
		err := r.store.EachStored(func(m store.Media) (bool, error) {
			found = append(found, m.Changed)
			return true, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return found
	}
	check := func(what string, want []store.Millis, withHash2 int) {
		t.Helper()
		if got := ages(); !slices.Equal(got, want) {
			t.Errorf("%s: ages %v, want %v", what, got, want)
		}
		if got := get[[]store.Media](r)(r.store.MediaOfFile(media.Hash{2})); len(got) != withHash2 {
			t.Errorf("%s: the file has %d messages, want %d", what, len(got), withHash2)
		}
		r.checked()
	}
	received(alice, 11, 30, 1)
	received(anna, 12, 20, 2)
	received(alice, 13, 10, 2)
	received(anna, 14, 40, 4)
	op := store.EnqueueFile{Message: enqueue(15, "draft", "source"), Media: store.Media{Hash: media.Hash{2}, Size: 1}}
	must[store.Enqueued](r, op)
	check("received", []store.Millis{10, 20, 30, 40}, 3)

	n := 0
	err := r.store.EachStored(func(store.Media) (bool, error) { n++; return n < 2, nil })
	if err != nil || n != 2 {
		t.Errorf("%d files are read after enough was found, %v", n, err)
	}
	evicted := get[store.Media](r)(r.store.Media(alice, store.ContactConversation(bob), store.MessageID{GUID: 13}))
	evicted.State = store.MediaEvicted
	must[bool](r, store.ChangeMedia{From: store.MediaStored, Media: evicted})
	check("evicted", []store.Millis{20, 30, 40}, 2)
	r.restart()
	check("after a restart", []store.Millis{20, 30, 40}, 2)
	must[bool](r, store.RemoveContact{Account: alice, Contact: bob})
	check("without the contact", []store.Millis{20, 40}, 1)
	must[bool](r, store.RemoveAccount{Account: anna})
	check("without the account", nil, 0)
}
