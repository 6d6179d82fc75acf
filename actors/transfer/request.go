// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
)

// requestTime is how long a contact may take to begin to send a file that it was asked
// for. A contact who does not have the file does not answer.
const requestTime = time.Minute

// requestFromContact fetches a file that the contact has, over the live session.
func (j *job) requestFromContact(ctx context.Context) error {
	hash, err := media.ParseHash(j.file.Hash)
	if err != nil {
		return permanent(errIncomplete)
	}
	p := store.ConversationWith(j.m.Account, j.m.Conversation.Contact())
	request := &fileRequest{
		frame:    peer.FileRequest{GUID: peer.GUID(j.m.Message.GUID), Name: j.file.Name, Hash: hash.String()},
		size:     j.file.Size,
		most:     j.service.deps.Options.MaxFile,
		hash:     hash,
		progress: j.progress.Store,
		begun:    make(chan struct{}),
		came:     make(chan arrivedFile),
		over:     make(chan struct{}),
	}
	defer close(request.over)
	ask, ok := j.service.fetches.open(p, request)
	if !ok {
		return errNoSession
	}
	defer j.service.fetches.close(p, request)
	ask(request.frame)
	patience := time.NewTimer(requestTime)
	defer patience.Stop()
	select {
	case <-request.begun:
	case <-patience.C:
		return errNoAnswer
	case <-ctx.Done():
		return ctx.Err()
	}
	// From here on the timers of the session end a transfer that stalls.
	select {
	case file := <-request.came:
		err := file.err
		if err == nil {
			err = j.place(file.w)
		}
		file.answer <- err
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// fileRequest is a file that a contact was asked for. The attempt waits for it; the
// session that reads the answer writes it to the disk.
type fileRequest struct {
	frame    peer.FileRequest
	hash     media.Hash
	size     int64 // as the message said, 0 for unknown
	most     int64
	progress func(int64)

	begun chan struct{}    // closed when the file begins to arrive
	came  chan arrivedFile // gets the file, once
	over  chan struct{}    // closed when the attempt has ended
}

// arrivedFile is the answer to a request: the requested file, or an error. answer gets
// nil when the file is in the media store.
type arrivedFile struct {
	w      *media.Writer
	err    error
	answer chan error
}

// finish hands the file to the attempt and waits until it is in the media store.
func (r *fileRequest) finish(w *media.Writer, err error) error {
	file := arrivedFile{w: w, err: err, answer: make(chan error, 1)}
	select {
	case r.came <- file:
	case <-r.over:
		return errNoAnswer
	}
	select {
	case err := <-file.answer:
		return err
	case <-r.over: // the attempt has ended: with its answer, or by a panic
	}
	select {
	case err := <-file.answer:
		return err
	default:
		return errNoAnswer
	}
}

// limit is the largest size of the file.
func (r *fileRequest) limit() int64 {
	if r.size > 0 {
		return r.size
	}
	return r.most
}

// fetchTable has the contacts with a session, and the files that contacts were asked
// for. No other file of a contact is accepted. It is safe for concurrent use.
type fetchTable struct {
	mu       sync.Mutex
	sessions map[store.Conversation]*askContact
	pending  map[pendingRequest]*fileRequest
}

// askContact asks a contact for a file over the session there is.
type askContact func(peer.FileRequest)

type pendingRequest struct {
	store.Conversation
	guid peer.GUID
}

func newFetchTable() *fetchTable {
	return &fetchTable{sessions: make(map[store.Conversation]*askContact), pending: make(map[pendingRequest]*fileRequest)}
}

// enter adds the live session of a contact. leave removes it, unless another session
// has replaced it.
func (t *fetchTable) enter(p store.Conversation, ask askContact) (leave func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	session := &ask
	t.sessions[p] = session
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.sessions[p] == session {
			delete(t.sessions, p)
		}
	}
}

// open adds a request and returns how to ask; false when the contact has no session.
func (t *fetchTable) open(p store.Conversation, r *fileRequest) (askContact, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	session, ok := t.sessions[p]
	if !ok {
		return nil, false
	}
	t.pending[pendingRequest{p, r.frame.GUID}] = r
	return *session, true
}

// awaits reports whether a contact was asked for a file that has not begun to arrive.
func (t *fetchTable) awaits(p store.Conversation) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for request := range t.pending {
		if request.Conversation == p {
			return true
		}
	}
	return false
}

func (t *fetchTable) close(p store.Conversation, r *fileRequest) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if key := (pendingRequest{p, r.frame.GUID}); t.pending[key] == r {
		delete(t.pending, key)
	}
}

// take returns the request that a contact answers, and removes it.
func (t *fetchTable) take(p store.Conversation, guid peer.GUID) (*fileRequest, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	key := pendingRequest{p, guid}
	r, ok := t.pending[key]
	if !ok {
		return nil, false
	}
	delete(t.pending, key)
	close(r.begun)
	return r, true
}
