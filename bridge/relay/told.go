// SPDX-License-Identifier: MPL-2.0

package relay

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/homeserver"
)

// What the people on Mimir were told about the room. Each sentence is sent once: it has a
// source of its own, under which the node queues one message however often it is asked. What
// has to be said follows from the tables alone, so [Relay.Reconcile] can be called at any time,
// and [Relay.Run] finishes after a crash what a command had begun.

const (
	// relayNotice is sent before the first relayed message.
	relayNotice = "This conversation is bridged to a Matrix room: people in that room read along, and what they write " +
		"comes from me with their name before it."
	relayEndNotice = "What people write in the Matrix room of this conversation does not come here any more. They can still read along."
	boundNotice    = "This group is bridged to a Matrix room (%s) from now on: people in that room read along, and what they write " +
		"comes from me with their name before it."
	boundEndNotice = "This group is not bridged to a Matrix room any more."
)

var (
	// ErrNotRelayed says that relaying has ended while a message was handled.
	ErrNotRelayed = errors.New("people without a login are not relayed in this conversation any more")
	// ErrMayNotWrite says that an account may not write into a conversation any more, so that
	// the other side cannot be told anything by it.
	ErrMayNotWrite = errors.New("the account may not write in this conversation")
)

// told is what the other side knows about people without a login.
type told struct {
	// Relayed means that it was told that they are relayed, and has to be told of the end.
	Relayed bool      `json:"relayed,omitempty"`
	Room    id.RoomID `json:"room,omitempty"`
	// By is the account that has said so, and through which they are relayed.
	By string `json:"by,omitempty"`
	// Ends counts how often it was told of an end. It is in the sources of what follows.
	Ends int `json:"ends,omitempty"`
	// Bound is the event of the last binding that is taken into account here, see [Binding].
	Bound id.EventID `json:"bound,omitempty"`
}

// source names what is told next.
func (t told) source(what string, room id.RoomID) string {
	source := what + ":" + string(room)
	if t.Ends > 0 {
		source += ":" + strconv.Itoa(t.Ends)
	}
	return source
}

const (
	toldPrefix  = "im.mimir.relay_told."
	boundPrefix = "im.mimir.bound."
)

func toldKey(portal networkid.PortalKey) database.Key {
	return database.Key(toldPrefix + string(portal.Receiver) + "." + string(portal.ID))
}

func (r *Relay) told(ctx context.Context, portal networkid.PortalKey) (t told, err error) {
	text, err := r.read(ctx, toldKey(portal))
	if err == nil && text != "" {
		if err := json.Unmarshal([]byte(text), &t); err != nil {
			return t, fmt.Errorf("%w: what was told of a room: %w", homeserver.ErrDatabase, err)
		}
	}
	return t, err
}

func (r *Relay) setTold(ctx context.Context, portal networkid.PortalKey, t told) error {
	text, err := json.Marshal(t)
	if err != nil {
		return err
	}
	return r.write(ctx, toldKey(portal), string(text))
}

// Announce tells the other side, before the first relayed message, that others read along and
// are relayed through an account. It returns [ErrNotRelayed] when they are not relayed any more.
func (r *Relay) Announce(ctx context.Context, portal *bridgev2.Portal, account string) error {
	release, err := r.telling.Hold(ctx, portal.PortalKey)
	if err != nil {
		return err
	}
	defer release()
	if portal.Relay == nil {
		return ErrNotRelayed
	}
	t, err := r.told(ctx, portal.PortalKey)
	if err != nil {
		return err
	}
	b, err := r.Binding(ctx, portal.PortalKey)
	switch {
	case err != nil:
		return err
	case t.Relayed && t.By == account && (t.Room == portal.MXID || b.IsRoom(portal.MXID)):
		return nil
	}
	if err := r.deps.Tell(ctx, account, portal.PortalKey, t.source("relay", portal.MXID), relayNotice); err != nil {
		return err
	}
	t.Relayed, t.Room, t.By = true, portal.MXID, account
	return r.setTold(ctx, portal.PortalKey, t)
}

// Begin tells a group that it is bound to a room, unless it was told, and has the people of the
// room relayed through the login of the account that has bound it. The conversation has the
// room already.
func (r *Relay) Begin(ctx context.Context, portal *bridgev2.Portal) error {
	release, err := r.telling.Hold(ctx, portal.PortalKey)
	if err != nil {
		return err
	}
	defer release()
	b, err := r.Binding(ctx, portal.PortalKey)
	if err != nil {
		return err
	}
	return r.begin(ctx, portal, b)
}

func (r *Relay) begin(ctx context.Context, portal *bridgev2.Portal, b Binding) error {
	err := r.deps.Tell(ctx, b.By, portal.PortalKey, "relay:"+string(b.Event), fmt.Sprintf(boundNotice, b.Name))
	if err != nil { // before anybody is relayed
		return err
	}
	if login := r.deps.Bridge.GetCachedUserLoginByID(networkid.UserLoginID(b.By)); login != nil {
		if err := portal.SetRelay(ctx, login); err != nil {
			return err
		}
	}
	t, err := r.told(ctx, portal.PortalKey)
	if err != nil {
		return err
	}
	if t.Bound != b.Event {
		t.Relayed, t.Room, t.By, t.Bound = true, b.Room, b.By, b.Event
		if err := r.setTold(ctx, portal.PortalKey, t); err != nil {
			return err
		}
	}
	b.Told = true
	return r.SetBinding(ctx, portal.PortalKey, b)
}

// Unset ends that people without a login are relayed, and tells the other side of it. Called
// again it finishes what an earlier call has begun. It reports whether somebody was relayed.
func (r *Relay) Unset(ctx context.Context, portal *bridgev2.Portal) (relayed bool, err error) {
	release, err := r.telling.Hold(ctx, portal.PortalKey)
	if err != nil {
		return false, err
	}
	relayed = portal.Relay != nil
	portal.Relay, portal.RelayLoginID = nil, "" // SetRelay of mautrix v0.30.0 panics for a contact
	err = portal.Save(ctx)
	release()
	if err != nil {
		return relayed, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	return relayed, r.Reconcile(ctx, portal.PortalKey)
}

// Reconcile tells the other side what has changed for its people since they were told last:
// that a group is bound to a room, that it is not any more, that nobody is relayed any more.
// After an error Run calls it again.
func (r *Relay) Reconcile(ctx context.Context, key networkid.PortalKey) error {
	err := r.reconcile(ctx, key)
	if err != nil {
		r.wake()
	}
	return err
}

func (r *Relay) reconcile(ctx context.Context, key networkid.PortalKey) error {
	release, err := r.telling.Hold(ctx, key)
	if err != nil {
		return err
	}
	defer release()
	// What the table says, not the portal, which others may change meanwhile.
	row, err := r.deps.Bridge.DB.Portal.GetByKey(ctx, key)
	if err != nil {
		return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	b, err := r.Binding(ctx, key)
	if err != nil {
		return err
	}
	t, err := r.told(ctx, key)
	if err != nil {
		return err
	}
	hasRoom := row != nil && row.MXID != ""
	isBound := hasRoom && b.IsRoom(row.MXID)
	switch {
	case isBound && !b.Told:
		portal, err := r.deps.Bridge.GetPortalByKey(ctx, key)
		if err != nil {
			return fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
		}
		if err := r.begin(ctx, portal, b); !errors.Is(err, ErrMayNotWrite) {
			return err
		}
	case !isBound && b.Told:
		if err := r.deps.Tell(ctx, b.By, key, "relay-end:"+string(b.Event), boundEndNotice); err != nil && !errors.Is(err, ErrMayNotWrite) {
			return err
		}
		t.Relayed, t.Bound, t.Ends = false, b.Event, t.Ends+1
		if err := r.setTold(ctx, key, t); err != nil {
			return err
		}
		return r.SetBinding(ctx, key, Binding{})
	case t.Relayed && (!hasRoom || row.RelayLoginID == ""):
		if err := r.deps.Tell(ctx, t.By, key, t.source("relay-off", t.Room), relayEndNotice); err != nil && !errors.Is(err, ErrMayNotWrite) {
			return err
		}
		t.Relayed, t.Ends = false, t.Ends+1
		return r.setTold(ctx, key, t)
	}
	return nil
}

// Run reconciles all conversations that were told something, and again after errors, until stop
// ends. It is called when the logins are there.
func (r *Relay) Run(stop, work context.Context) {
	for failures := 0; stop.Err() == nil; {
		var retry <-chan time.Time
		err := r.reconcileAll(work)
		if err != nil {
			if failures == 0 {
				r.deps.Log.Warn("people on Mimir not told about relaying, retrying", "err", err)
			}
			timer := time.NewTimer(r.deps.Retry.Delay(failures))
			defer timer.Stop()
			retry, failures = timer.C, failures+1
		} else {
			failures = 0
		}
		select {
		case <-stop.Done():
		case <-retry:
		case <-r.again:
		}
	}
}

// wake has Run reconcile all conversations.
func (r *Relay) wake() {
	select {
	case r.again <- struct{}{}:
	default:
	}
}

func (r *Relay) reconcileAll(ctx context.Context) error {
	keys, err := r.unfinished(ctx)
	errs := []error{err}
	for _, key := range keys {
		errs = append(errs, r.reconcile(ctx, key))
	}
	return errors.Join(errs...)
}

// unfinished returns the conversations whose other side may have to be told something.
func (r *Relay) unfinished(ctx context.Context) (keys []networkid.PortalKey, err error) {
	db := r.deps.Bridge.DB
	rows, err := db.Query(ctx, `SELECT key, value FROM kv_store WHERE bridge_id=$1 AND (SUBSTR(key, 1, $2)=$3 OR SUBSTR(key, 1, $4)=$5)`,
		db.BridgeID, len(toldPrefix), toldPrefix, len(boundPrefix), boundPrefix)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
		}
		conversation, isBinding := strings.CutPrefix(name, boundPrefix)
		if !isBinding {
			var t told
			if err := json.Unmarshal([]byte(value), &t); err == nil && !t.Relayed {
				continue // and one that cannot be read is named by reconcile
			}
			conversation = strings.TrimPrefix(name, toldPrefix)
		}
		receiver, portal, _ := strings.Cut(conversation, ".") // the id of a login has no dot
		key := networkid.PortalKey{ID: networkid.PortalID(portal), Receiver: networkid.UserLoginID(receiver)}
		if !slices.Contains(keys, key) {
			keys = append(keys, key)
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("%w: %w", homeserver.ErrDatabase, err)
	}
	return keys, nil
}
