// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"

	"github.com/mimird/mimird/actors/transfer"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// file is a file of a message of a testNode.
type file struct {
	conversation store.ConversationID
	info         transfer.Info
	data         []byte
	// damaged: reading fails before the end.
	damaged bool
}

// offer stores a message of a contact with a file that is not here yet.
func (n *testNode) offer(account, contact identity.PublicKey, info transfer.Info) store.MessageID {
	n.t.Helper()
	n.mu.Lock()
	n.nextGUID++
	id := store.MessageID{Dir: store.In, GUID: n.nextGUID}
	info.Account, info.Contact, info.Message = account, contact, id
	n.files[id] = &file{conversation: store.ContactConversation(contact), info: info}
	n.mu.Unlock()
	kind, payload := n.filePayload(info)
	return n.accept(store.AcceptMessage{Account: account, Conversation: store.ContactConversation(contact), GUID: id.GUID, Type: int32(kind), Payload: payload})
}

func (n *testNode) filePayload(info transfer.Info) (peer.MessageType, []byte) {
	n.t.Helper()
	kind := peer.TypeFile
	if info.Picture {
		kind = peer.TypeImage
	}
	payload, err := json.Marshal(map[string]any{"name": info.Name, "originalName": info.Name, "size": info.Size, "text": info.Caption, "hash": "00"})
	if err != nil {
		n.t.Fatal(err)
	}
	return kind, payload
}

// arrive makes the file of a message be here, or become something else.
func (n *testNode) arrive(id store.MessageID, state store.MediaState, data []byte) {
	n.t.Helper()
	n.mu.Lock()
	f := n.files[id]
	f.data, f.info.State, f.damaged = data, state, f.damaged && state == store.MediaStored && f.data == nil
	if state == store.MediaStored {
		f.info.Size = int64(len(data))
	}
	account, conversation, reason := f.info.Account, f.conversation, f.info.Reason
	n.mu.Unlock()
	before := store.MediaOffered
	if known, err := n.Media(account, conversation, id); err == nil {
		before = known.State
	}
	n.must(store.Do[bool](context.Background(), n.actor, store.ChangeMedia{
		From:  before,
		Media: store.Media{Account: account, Conversation: conversation, Message: id, State: state, Reason: reason},
	}))
}

func (n *testNode) SendFile(ctx context.Context, f node.OutgoingFile) (store.Message, error) {
	data, err := io.ReadAll(f.Body)
	if err != nil {
		return store.Message{}, err
	}
	if len(data) == 0 {
		return store.Message{}, transfer.ErrFileEmpty
	}
	kind := peer.TypeFile
	if http.DetectContentType(data) == "image/png" {
		kind = peer.TypeImage
	}
	m, err := n.Send(ctx, node.Outgoing{
		Account: f.Account, Contact: f.Contact, Group: f.Group, Source: f.Source, Type: kind, ReplyTo: f.ReplyTo,
		Payload: []byte(f.Name + "|" + f.MIMEType + "|" + f.Caption), SendTime: f.SendTime,
	})
	if err != nil {
		return m, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	conversation := f.Group
	if conversation.IsZero() {
		conversation = store.ContactConversation(f.Contact)
	}
	n.files[m.ID] = &file{conversation: conversation, data: data, info: transfer.Info{
		Account: f.Account, Contact: f.Contact, Message: m.ID, State: store.MediaUploading, Name: f.Name,
		MIMEType: f.MIMEType, Caption: f.Caption, Size: int64(len(data)), Voice: f.Voice, Picture: kind == peer.TypeImage,
	}}
	return m, nil
}

// fileOf returns the file of a message.
func (n *testNode) fileOf(id store.MessageID) file {
	n.mu.Lock()
	defer n.mu.Unlock()
	if f := n.files[id]; f != nil {
		return *f
	}
	return file{}
}

func (n *testNode) MediaState(_, _ identity.PublicKey, id store.MessageID) (transfer.Info, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f := n.files[id]
	if f == nil {
		return transfer.Info{}, transfer.ErrNoMedia
	}
	return f.info, nil
}

// forget makes the file of a message be that of no message, as it is when the message was
// deleted.
func (n *testNode) forget(id store.MessageID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.files, id)
}

type openFile struct{ *bytes.Reader }

func (openFile) Close() error { return nil }

// damagedFile is a file that turns out to be damaged at its end.
type damagedFile struct{ openFile }

func (f damagedFile) Read(b []byte) (int, error) {
	n, err := f.openFile.Read(b)
	if f.Len() == 0 {
		return 0, media.ErrDamaged
	}
	return n, err
}

// WriteTo hides that of the reader.
func (f damagedFile) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{f})
}

// rot makes a file damaged, also while it is read.
func (n *testNode) rot(id store.MessageID) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.files[id].damaged = true
}

func (n *testNode) OpenMedia(_, _ identity.PublicKey, id store.MessageID) (io.ReadSeekCloser, transfer.Info, error) {
	f := n.fileOf(id)
	switch {
	case f.info.Message != id:
		return nil, transfer.Info{}, transfer.ErrNoMedia
	case f.data == nil:
		return nil, f.info, transfer.ErrNotHere
	}
	if f.damaged {
		return damagedFile{openFile{bytes.NewReader(f.data)}}, f.info, nil
	}
	return openFile{bytes.NewReader(f.data)}, f.info, nil
}

func (n *testNode) FetchMedia(_ context.Context, account, contact identity.PublicKey, id store.MessageID) (transfer.Info, error) {
	if _, err := n.MediaState(account, contact, id); err != nil {
		return transfer.Info{}, err
	}
	n.arrive(id, store.MediaDownloading, nil)
	return n.MediaState(account, contact, id)
}
