// SPDX-License-Identifier: MPL-2.0

package notices

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/bridgev2"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/deliver"
	"github.com/mimird/mimird/bridge/fault"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/library"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/nodeapi"
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
)

// TroubleDeps is what [Troubles] use.
type TroubleDeps struct {
	Bridge        *bridgev2.Bridge
	Matrix        library.Matrix
	Node          nodeapi.Node
	Groups        nodeapi.GroupNode // nil when the node takes part in no groups
	Conversations *nodeapi.Conversations
	Names         *people.Names
	Ghosts        *people.Ghosts
	Teller        *Teller
	Log           *slog.Logger
	// Deliver knows which conversations wait, and why.
	Deliver *deliver.Deliverer
	// LastUp is when the homeserver answered last.
	LastUp func() time.Time
	// Told is called after the user of a login was told: the bridge state says the same.
	Told func(login *bridgev2.UserLogin)
}

// Troubles are the conversations whose messages do not reach their room. It may be used from
// any goroutine.
type Troubles struct{ deps TroubleDeps }

// NewTroubles returns the troubles of a bridge. The caller runs them.
func NewTroubles(deps TroubleDeps) *Troubles { return &Troubles{deps: deps} }

// troubleReason says why a conversation is in trouble, in a few words for people.
func troubleReason(t deliver.Trouble) string {
	if t.Err == nil {
		return deliver.NoAnswer
	}
	return ReasonOf(t.Err)
}

// Run tells users of conversations in trouble until stop ends. A login whose
// management room does not answer delays no other.
func (s *Troubles) Run(stop, work context.Context) {
	tick := time.NewTicker(troubleTick)
	defer tick.Stop()
	var telling sync.WaitGroup
	defer telling.Wait()
	var mu sync.Mutex
	busy := make(map[*bridgev2.UserLogin]bool)
	for {
		select {
		case <-stop.Done():
			return
		case <-tick.C:
		}
		bad, well := s.deps.Deliver.Troubles(s.deps.LastUp())
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
			telling.Go(func() {
				err := fault.Guard(s.deps.Log, "tell of rooms in trouble", func() error { return s.tell(work, login, n.bad, n.well) })
				if err != nil && work.Err() == nil {
					s.deps.Log.Warn("user not told of rooms in trouble, retrying", "user_id", login.UserMXID, "err", fault.OneLine(err))
				}
				mu.Lock()
				delete(busy, login)
				mu.Unlock()
			})
		}
	}
}

// tell tells the user of a login which conversations are in trouble, and which
// are well again.
func (s *Troubles) tell(ctx context.Context, login *bridgev2.UserLogin, bad []deliver.Trouble, well []*deliver.Position) error {
	var lines []string
	var told []*deliver.Position
	// The moment names the notice: it is another one at each attempt.
	entry := store.Event{Seq: uint64(time.Now().UnixNano()), Kind: troubleEntry}
	for i, t := range bad {
		told = append(told, t.At)
		if i >= maxTroubles {
			continue
		}
		lines = append(lines, fmt.Sprintf("⚠️ Messages from %s have not reached their room since %s: %s. %s", s.NameOf(t.At.Conversation),
			t.Since.UTC().Format(MomentForm), troubleReason(t), s.Advice(t.At.Conversation, t.Err)))
	}
	if over := len(bad) - maxTroubles; over > 0 {
		lines = append(lines, fmt.Sprintf("… and those of %d more conversations. `mimird status` lists them.", over))
	}
	if len(bad) > 0 {
		lines = append(lines, "Nothing is lost. The bridge retries by itself; say `retry` to try at once.")
	}
	for i, at := range well {
		if i < maxTroubles {
			lines = append(lines, fmt.Sprintf("✅ Messages from %s reach their room again.", s.NameOf(at.Conversation)))
		}
	}
	if err := s.deps.Teller.Tell(ctx, homeserver.NewScope(entry, len(told)+len(well)), login.User, strings.Join(lines, "\n")); err != nil {
		return err
	}
	s.deps.Deliver.SetTold(told, true)
	s.deps.Deliver.SetTold(well, false)
	s.deps.Told(login)
	return nil
}

// OfAccount returns how many rooms are in trouble, and a sentence about them for a
// bridge state.
func (s *Troubles) OfAccount(account identity.PublicKey) (rooms int, text string) {
	told := s.deps.Deliver.ToldTroubles(account)
	if len(told) == 0 {
		return 0, ""
	}
	t := told[0]
	text = fmt.Sprintf("Messages from %s do not reach their room: %s. %s", s.NameOf(t.At.Conversation), troubleReason(t),
		s.Advice(t.At.Conversation, t.Err))
	if len(told) > 1 {
		text += fmt.Sprintf(" The same is true for %d more conversations.", len(told)-1)
	}
	return len(told), text
}

// NameOf returns the shown name of a contact, or of a group.
func (s *Troubles) NameOf(conversation store.Conversation) string {
	if s.deps.Conversations.InGroups(conversation.ID) {
		g, err := s.deps.Groups.Group(conversation.Account, conversation.ID)
		if err != nil {
			g = store.Group{ID: conversation.ID}
		}
		return groupchat.Name(g)
	}
	contact, err := s.deps.Node.Contact(conversation.Account, conversation.Contact())
	if err != nil {
		return people.NameOr("", conversation.Contact())
	}
	return s.deps.Names.OfContact(contact)
}

// Advice says what to do about a failed delivery, in a sentence or two.
func (s *Troubles) Advice(conversation store.Conversation, err error) string {
	anew := fmt.Sprintf("or say `history %s` here: that makes a new room.", s.NameOf(conversation))
	switch {
	case errors.Is(err, homeserver.ErrRoomEncrypted), errors.Is(err, homeserver.ErrPlaintext):
		return "Set encryption.allow in the configuration of the bridge, " + anew
	case errors.Is(err, mautrix.MUnknownToken), errors.Is(err, mautrix.MMissingToken), errors.Is(err, mautrix.MExclusive):
		return "Give the homeserver the registration file of the bridge and restart it; `mimird matrix doctor` tests that."
	case homeserver.AnswerOf(err) == homeserver.AnswerRoom:
		writers := s.deps.Matrix.Bot().UserID.String() + " and " + s.deps.Ghosts.UserOf(conversation.Contact()).String()
		if s.deps.Conversations.InGroups(conversation.ID) {
			writers = s.deps.Matrix.Bot().UserID.String() + " and the members of the group"
		}
		return fmt.Sprintf("Allow %s to write in the room (no ban, enough power), %s", writers, anew)
	case homeserver.AnswerOf(err) == homeserver.AnswerNone && err != nil:
		return "The log of the node says more."
	default:
		return "The logs of the homeserver, and of the proxy before it, say more."
	}
}

// Waiting returns [deliver.Deliverer.Waiting] with the name, the room and the remedy of
// each conversation.
func (s *Troubles) Waiting() (logins, conversations int, list []deliver.Waiting) {
	logins, conversations, list = s.deps.Deliver.Waiting()
	for i := range list {
		w := &list[i]
		if w.Error == "" {
			continue
		}
		conversation := w.Conversation()
		w.Name, w.Remedy = s.NameOf(conversation), s.Advice(conversation, s.deps.Deliver.TroubleOf(conversation).Err)
		portal, err := s.deps.Bridge.GetExistingPortalByKey(s.deps.Bridge.BackgroundCtx, mimirid.Portal(w.Account, conversation.ID))
		if err == nil && portal != nil {
			w.Room = portal.MXID
		}
	}
	return logins, conversations, list
}
