// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/status"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
)

// OutgoingForTest is the half of a bridge that brings messages into rooms, without a
// listener and without a network, so that it runs in virtual time.
type OutgoingForTest struct {
	in   *instance
	live *liveStatus
	node Node
	stop context.CancelFunc
	done chan error
	wake chan struct{}
}

// StartOutgoingForTest starts it, with requests that go through base.
func StartOutgoingForTest(ctx context.Context, opts Options, node Node, base http.RoundTripper, log *slog.Logger) (*OutgoingForTest, error) {
	library.Prepare()
	ctx, stop := context.WithCancel(ctx)
	r := &runner{
		opts: opts, node: node, log: log, live: &liveStatus{state: StateStarting}, base: base,
		library: library.NewLogger(log, slog.LevelWarn, nil),
	}
	r.wake = make(chan struct{}, 1)
	r.listener = appservice.NewListener(appservice.ListenerOptions{Node: node, Log: log, Token: opts.Config.AppService.HSToken, Stored: r.stored})
	db, err := opts.Config.OpenDatabase(ctx, opts.Dir, r.library)
	if err != nil {
		stop()
		return nil, err
	}
	in, err := r.build(ctx, db)
	if err == nil {
		err = r.awaitHomeserver(ctx, in)
	}
	if err == nil {
		err = in.Bridge().StartConnectors(r.library.WithContext(mautrix.WithMaxRetries(ctx, 0)))
	}
	if err != nil {
		stop()
		return nil, errors.Join(err, db.Close())
	}
	r.live.homeserver.OnUp(in.Deliverer().Kick)
	r.live.set(StateRunning, nil, in)
	o := &OutgoingForTest{in: in, live: r.live, node: node, stop: stop, done: make(chan error, 1), wake: r.wake}
	go func() { o.done <- in.Deliverer().Run(ctx, ctx) }()
	return o, nil
}

// Login makes a user use an account.
func (o *OutgoingForTest) Login(ctx context.Context, user id.UserID, account identity.PublicKey) error {
	ctx = o.in.Bridge().Log.WithContext(ctx)
	if _, err := o.in.Bridge().GetUserByMXID(ctx, user); err != nil {
		return err
	}
	row := &database.UserLogin{BridgeID: o.in.Bridge().ID, UserMXID: user, ID: mimirid.Login(account), RemoteName: account.Short()}
	if err := o.in.Bridge().DB.UserLogin.Insert(ctx, row); err != nil {
		return fmt.Errorf("store the login: %w", err)
	}
	login, err := o.in.Bridge().GetExistingUserLoginByID(ctx, row.ID)
	if err == nil && login == nil {
		err = errors.New("no login")
	}
	if err != nil {
		return err
	}
	login.Client.Connect(ctx)
	return nil
}

// Status is that of the bridge.
func (o *OutgoingForTest) Status() Status { return o.live.status(o.node) }

// Room returns the room of a conversation, empty for none.
func (o *OutgoingForTest) Room(ctx context.Context, account, contact identity.PublicKey) (id.RoomID, error) {
	portal, err := o.in.Bridge().GetExistingPortalByKey(ctx, mimirid.Portal(account, store.ContactConversation(contact)))
	if err != nil || portal == nil {
		return "", err
	}
	return portal.MXID, nil
}

// BridgeState is the last bridge state of an account's login.
func (o *OutgoingForTest) BridgeState(account identity.PublicKey) status.BridgeState {
	return o.in.Bridge().GetCachedUserLoginByID(mimirid.Login(account)).BridgeState.GetPrev()
}

// Retry ends the pause of a conversation.
func (o *OutgoingForTest) Retry(account, contact identity.PublicKey) {
	o.in.Deliverer().Retry(store.ConversationWith(account, contact))
}

// Doubt makes the next event of a conversation one that may be in its room already.
func (o *OutgoingForTest) Doubt(account, contact identity.PublicKey) {
	o.in.Deliverer().Redo(store.ConversationWith(account, contact), func(_ context.Context, at *deliver.Position) error {
		at.Doubt()
		return nil
	})
}

// Rebuild makes the room of a conversation anew.
func (o *OutgoingForTest) Rebuild(account, contact identity.PublicKey) {
	o.in.RemakeRoom(store.ConversationWith(account, contact), 0)
}

// Encrypted makes our tables say that a room is encrypted, as its state event does.
func (o *OutgoingForTest) Encrypted(ctx context.Context, room id.RoomID) error {
	return o.in.matrix.AppService().StateStore.SetEncryptionEvent(ctx, room, &event.EncryptionEventContent{Algorithm: id.AlgorithmMegolmV1})
}

// CreateRoom creates a room of the bot that is for no conversation.
func (o *OutgoingForTest) CreateRoom(ctx context.Context, name string) (id.RoomID, error) {
	created, err := o.in.matrix.Bot().CreateRoom(ctx, &mautrix.ReqCreateRoom{Name: name})
	if err != nil {
		return "", err
	}
	return created.RoomID, nil
}

// Forget removes the row of a conversation from the tables, as if it were not written
// yet. What is in memory stays.
func (o *OutgoingForTest) Forget(ctx context.Context, account, contact identity.PublicKey) error {
	return o.in.Bridge().DB.Portal.Delete(ctx, mimirid.Portal(account, store.ContactConversation(contact)))
}

// SearchRooms runs the background of the connector until ctx ends: the search of rooms is
// a part of it.
func (o *OutgoingForTest) SearchRooms(ctx context.Context) error { return o.in.RunBackground(ctx) }

// ActAs makes the bridge act as a user with a token of theirs.
func (o *OutgoingForTest) ActAs(ctx context.Context, user id.UserID, token string) error {
	ctx = o.in.Bridge().Log.WithContext(ctx)
	puppet, err := o.in.Bridge().GetUserByMXID(ctx, user)
	if err != nil {
		return err
	}
	return puppet.LoginDoublePuppet(ctx, token)
}

// StartIncoming runs what hands the events of the journal to the library, until ctx ends.
func (o *OutgoingForTest) StartIncoming(ctx context.Context, opts Options, log *slog.Logger) (wait func() error) {
	d := appservice.NewDispatcher(ctx, ctx, appservice.DispatcherDeps{
		Node: o.node, Log: log, Library: library.NewLogger(log, slog.LevelWarn, nil), Bridge: o.in.Bridge(), Matrix: o.in.matrix,
		Status: o.in.status, Deduper: o.in.Deduper(), Rooms: o.in.Rooms(), Relay: o.in.Relay(), Attachments: o.in.attachments,
		Wake: o.wake, Retry: opts.Retry, Keys: new(appservice.Broadcast),
	})
	done := make(chan error, 1)
	go func() { done <- d.Run() }()
	return func() error { return <-done }
}

// Push stores an event as one of a transaction of the homeserver.
func (o *OutgoingForTest) Push(ctx context.Context, id string, event []byte) error {
	body := append(append([]byte(`{"events":[`), event...), `]}`...)
	_, err := o.node.AppendJournal(ctx, appservice.JournalQueue, store.NewEntry{ID: id, Body: body})
	select {
	case o.wake <- struct{}{}:
	default:
	}
	return err
}

// Stop ends it.
func (o *OutgoingForTest) Stop() error {
	o.stop()
	err := <-o.done
	o.in.end()
	return err
}
