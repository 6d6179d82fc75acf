// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/status"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/botcrypto"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/people"
	"github.com/mimird/mimird/proto/identity"
)

// A conversation whose messages do not reach their room is in trouble when the homeserver
// answers other requests meanwhile. Its user is told after a minute: in the management
// room, in the bridge state of the login, and by `mimird status`. While the homeserver
// does not answer, only the status can say so.

const (
	// troubleTick is how often conversations are checked for trouble.
	troubleTick = 5 * time.Second
	// maxTroubles bounds the conversations that one notice names.
	maxTroubles = 10
	// troubleEntry is the event kind of these notices, for transaction ids. The log has
	// none of it.
	troubleEntry store.EventKind = 253
	// stateRoomWaits is in a bridge state while a conversation is in trouble.
	stateRoomWaits status.BridgeStateErrorCode = "mimir-room-waits"
)

// stateNotEncrypted is the reason in a bridge state that rooms are not encrypted
// although the configuration wants it.
const stateNotEncrypted = "mimir-not-encrypted"

// troubleReason says why a conversation is in trouble, in a few words for people.
func troubleReason(t deliver.Trouble) string {
	if t.Err == nil {
		return deliver.NoAnswer
	}
	return reasonOf(t.Err)
}

// watchTroubles tells users of conversations in trouble until stop ends. A login whose
// management room does not answer delays no other.
func (c *Connector) watchTroubles(stop, work context.Context) {
	tick := time.NewTicker(troubleTick)
	defer tick.Stop()
	var notices sync.WaitGroup
	defer notices.Wait()
	var mu sync.Mutex
	busy := make(map[*bridgev2.UserLogin]bool)
	for {
		select {
		case <-stop.Done():
			return
		case <-tick.C:
		}
		bad, well := c.deliver.Troubles(c.homeserver.LastUp())
		type news struct {
			bad  []deliver.Trouble
			well []*deliver.Position
		}
		byLogin := make(map[*bridgev2.UserLogin]*news)
		of := func(at *deliver.Position) *news {
			if byLogin[at.Login] == nil {
				byLogin[at.Login] = &news{}
			}
			return byLogin[at.Login]
		}
		for _, t := range bad {
			of(t.At).bad = append(of(t.At).bad, t)
		}
		for _, at := range well {
			of(at).well = append(of(at).well, at)
		}
		for login, n := range byLogin {
			mu.Lock()
			skip := busy[login]
			busy[login] = true
			mu.Unlock()
			if skip {
				continue
			}
			notices.Go(func() {
				err := fault.Guard(c.log, "tell of rooms in trouble", func() error { return c.tellTroubles(work, login, n.bad, n.well) })
				if err != nil && work.Err() == nil {
					c.log.Warn("user not told of rooms in trouble, retrying", "user_id", login.UserMXID, "err", fault.OneLine(err))
				}
				mu.Lock()
				delete(busy, login)
				mu.Unlock()
			})
		}
	}
}

// tellTroubles tells the user of a login which conversations are in trouble, and which
// are well again.
func (c *Connector) tellTroubles(ctx context.Context, login *bridgev2.UserLogin, bad []deliver.Trouble, well []*deliver.Position) error {
	var lines []string
	var told []*deliver.Position
	// The moment names the notice: it is another one at each attempt.
	entry := store.Event{Seq: uint64(time.Now().UnixNano()), Kind: troubleEntry}
	for i, t := range bad {
		told = append(told, t.At)
		if i >= maxTroubles {
			continue
		}
		lines = append(lines, fmt.Sprintf("⚠️ Messages from %s have not reached their room since %s: %s. %s", c.nameOfContact(t.At.Conversation),
			t.Since.UTC().Format(momentForm), troubleReason(t), c.advice(t.At.Conversation, t.Err)))
	}
	if over := len(bad) - maxTroubles; over > 0 {
		lines = append(lines, fmt.Sprintf("… and those of %d more conversations. `mimird status` lists them.", over))
	}
	if len(bad) > 0 {
		lines = append(lines, "Nothing is lost. The bridge retries by itself; say `retry` to try at once.")
	}
	for i, at := range well {
		if i < maxTroubles {
			lines = append(lines, fmt.Sprintf("✅ Messages from %s reach their room again.", c.nameOfContact(at.Conversation)))
		}
	}
	if err := c.tellUser(ctx, homeserver.NewScope(entry, len(told)+len(well)), login.User, strings.Join(lines, "\n")); err != nil {
		return err
	}
	c.deliver.SetTold(told, true)
	c.deliver.SetTold(well, false)
	if cl, ok := login.Client.(*client); ok && cl.IsLoggedIn() && login.BridgeState != nil {
		c.sendState(login, c.connected(cl.account))
	}
	return nil
}

// roomsInTrouble returns how many rooms are in trouble, and a sentence about them for a
// bridge state.
func (c *Connector) roomsInTrouble(account identity.PublicKey) (rooms int, text string) {
	told := c.deliver.ToldTroubles(account)
	if len(told) == 0 {
		return 0, ""
	}
	t := told[0]
	text = fmt.Sprintf("Messages from %s do not reach their room: %s. %s", c.nameOfContact(t.At.Conversation), troubleReason(t),
		c.advice(t.At.Conversation, t.Err))
	if len(told) > 1 {
		text += fmt.Sprintf(" The same is true for %d more conversations.", len(told)-1)
	}
	return len(told), text
}

// connected is the bridge state of a login that works, as well as the homeserver allows.
func (c *Connector) connected(account identity.PublicKey) status.BridgeState {
	state := status.BridgeState{StateEvent: status.StateConnected}
	if rooms, text := c.roomsInTrouble(account); rooms > 0 {
		// The library ignores a state that differs in its message alone.
		state.Error, state.Message, state.Info = stateRoomWaits, text, map[string]any{"rooms_waiting": rooms}
	} else if e := c.matrix.Encryption(); e.State == botcrypto.Unavailable {
		state.Reason, state.Message = stateNotEncrypted, e.Error
	}
	return state
}

// tellUser has the bot say something to a user in the management room, in a scope. It
// gives up a room that is gone, or in which the bot must not write, for another.
func (c *Connector) tellUser(ctx context.Context, scope *homeserver.Scope, user *bridgev2.User, text string) error {
	scoped, cancel := scope.With(c.br.BackgroundCtx, ctx)
	defer cancel()
	content := msgconv.Notice(text)
	content.Mentions = &event.Mentions{}
	for fresh := false; ; fresh = true {
		room, err := user.GetManagementRoom(scoped)
		if err != nil {
			return fmt.Errorf("open the room with the bot: %w", homeserver.WithRetryAfter(err))
		}
		_, err = c.br.Bot.SendMessage(scoped, room, event.EventMessage, &event.Content{Parsed: content}, nil)
		if err == nil {
			return nil
		}
		if fresh || !errors.Is(err, mautrix.MForbidden) && !errors.Is(err, mautrix.MNotFound) {
			return fmt.Errorf("write to the user: %w", homeserver.WithRetryAfter(err))
		}
		c.log.Warn("management room closed to the bot, opening another", "room_id", room, "user_id", user.MXID)
		if _, err := library.SetManagementRoom(scoped, user, room, ""); err != nil {
			return fmt.Errorf("give up the room with the bot: %w", err)
		}
	}
}

// nameOfContact returns the shown name of a contact, or of a group.
func (c *Connector) nameOfContact(conversation store.Conversation) string {
	if c.conversations.InGroups(conversation.ID) {
		g, err := c.groups.Group(conversation.Account, conversation.ID)
		if err != nil {
			g = store.Group{ID: conversation.ID}
		}
		return groupchat.Name(g)
	}
	contact, err := c.node.Contact(conversation.Account, conversation.Contact())
	if err != nil {
		return people.NameOr("", conversation.Contact())
	}
	return c.names.OfContact(contact)
}

// advice says what to do about a failed delivery, in a sentence or two.
func (c *Connector) advice(conversation store.Conversation, err error) string {
	anew := fmt.Sprintf("or say `history %s` here: that makes a new room.", c.nameOfContact(conversation))
	switch {
	case errors.Is(err, homeserver.ErrRoomEncrypted), errors.Is(err, homeserver.ErrPlaintext):
		return "Set encryption.allow in the configuration of the bridge, " + anew
	case errors.Is(err, mautrix.MUnknownToken), errors.Is(err, mautrix.MMissingToken), errors.Is(err, mautrix.MExclusive):
		return "Give the homeserver the registration file of the bridge and restart it; `mimird matrix doctor` tests that."
	case homeserver.AnswerOf(err) == homeserver.AnswerRoom:
		writers := c.matrix.Bot().UserID.String() + " and " + c.ghostUser(conversation.Contact()).String()
		if c.conversations.InGroups(conversation.ID) {
			writers = c.matrix.Bot().UserID.String() + " and the members of the group"
		}
		return fmt.Sprintf("Allow %s to write in the room (no ban, enough power), %s", writers, anew)
	case homeserver.AnswerOf(err) == homeserver.AnswerNone && err != nil:
		return "The log of the node says more."
	default:
		return "The logs of the homeserver, and of the proxy before it, say more."
	}
}

func (c *Connector) ghostUser(contact identity.PublicKey) id.UserID {
	return c.matrix.GhostIntent(mimirid.User(contact)).GetMXID()
}

// Waiting returns [deliver.Deliverer.Waiting] with the name, the room and the remedy of
// each conversation.
func (c *Connector) Waiting() (logins, conversations int, list []deliver.Waiting) {
	logins, conversations, list = c.deliver.Waiting()
	for i := range list {
		w := &list[i]
		if w.Error == "" {
			continue
		}
		conversation := w.Conversation()
		w.Name, w.Remedy = c.nameOfContact(conversation), c.advice(conversation, c.deliver.TroubleOf(conversation).Err)
		portal, err := c.br.GetExistingPortalByKey(c.br.BackgroundCtx, mimirid.Portal(w.Account, conversation.ID))
		if err == nil && portal != nil {
			w.Room = portal.MXID
		}
	}
	return logins, conversations, list
}

// maxTellTries is how often a notice to a user may fail before it is given up.
const maxTellTries = 20

// retryTellUser has the bot tell a user something. It retries until the homeserver
// accepts that, stop ends, or maxTellTries attempts have failed, so callers run it in a
// goroutine of its own.
func (c *Connector) retryTellUser(stop context.Context, user *bridgev2.User, what, text string) {
	// The moment names the notice: sent again after a lost answer, it is the same one.
	name := what + "/" + string(user.MXID) + "/" + time.Now().Format(time.RFC3339Nano)
	for try := range maxTellTries {
		err := fault.Guard(c.log, "tell a user", func() error { return c.tellUser(stop, homeserver.NewNamedScope(name), user, text) })
		if err == nil || stop.Err() != nil {
			return
		}
		c.log.Log(stop, fault.RetryLevel(try), "user not told, retrying", "user_id", user.MXID, "reason", what, "err", fault.OneLine(err))
		timer := time.NewTimer(c.retry.Delay(try))
		select {
		case <-timer.C:
		case <-stop.Done():
			timer.Stop()
			return
		}
	}
	c.log.Warn("user not told", "user_id", user.MXID, "reason", what)
}
