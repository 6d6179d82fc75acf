// SPDX-License-Identifier: MPL-2.0

package show

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/nodeapi"
	"github.com/mimird/mimird/bridge/notices"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/bridgev2/networkid"
	"maunium.net/go/mautrix/bridgev2/simplevent"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// In Mimir each side has at most one reaction to a message, and the store knows which one
// counts. So a room is shown the state of the store and not the entry of the log.

// reaction shows a reaction in the room of its message.
func (d *delivery) reaction(ctx context.Context, m store.Message) error {
	reaction, err := peer.ParseReaction(m.Payload)
	if err != nil {
		d.deps.Log.Debug("malformed reaction", "contact", d.at.ID.Short(), "err", err)
		return nil
	}
	if msgconv.IsMatrixSource(m.Source) {
		return nil // it comes from the room
	}
	return d.syncReaction(ctx, reaction.Target, reactorOf(m))
}

// reactor is who reacts: one side of the conversation with a contact, our user or a member
// of a group.
type reactor struct {
	dir    store.Direction
	author identity.PublicKey // of a group, for store.In
}

func reactorOf(m store.Message) reactor {
	if m.ID.Dir == store.Out {
		return reactor{dir: store.Out}
	}
	return reactor{store.In, m.Author}
}

// part returns the part of an entry that a reaction is, for transaction ids: reactionAdded
// or reactionRemoved and who reacts.
func (r reactor) part(base int) int {
	if r.author.IsZero() {
		return base + int(r.dir)
	}
	// Above all others, and of two members with the same beginning of their keys only when
	// one of them has searched for such a key.
	return base<<40 + int(binary.BigEndian.Uint64(r.author[:8])>>24)
}

func (d *delivery) reactorSender(r reactor) bridgev2.EventSender {
	switch {
	case r.dir == store.Out, d.isGroup() && r.author == d.at.Account:
		return d.ownSender()
	case !d.isGroup():
		return d.contactSender()
	default:
		return d.memberSender(r.author)
	}
}

// reactionsTo shows the reactions that came before their message.
func (d *delivery) reactionsTo(ctx context.Context, id store.MessageID) error {
	reactions, err := d.deps.Conversations.Reactions(d.at.Account, d.at.ID, peer.GUID(id.GUID))
	if err != nil && !nodeapi.IsGone(err) {
		return err
	}
	slices.SortStableFunc(reactions, func(a, b store.Reaction) int { return cmp.Compare(a.Dir, b.Dir) })
	for _, r := range reactions {
		who := reactor{dir: r.Dir}
		if r.Dir == store.In {
			who.author = r.Author
		}
		if err := d.syncReaction(ctx, peer.GUID(id.GUID), who); err != nil {
			return err
		}
	}
	return nil
}

// effective returns the reaction of somebody that counts, nil for none.
func (d *delivery) effective(target peer.GUID, who reactor) (*store.Reaction, error) {
	if d.isGroup() {
		author := who.author
		if who.dir == store.Out {
			author = d.at.Account
		}
		return d.groupReaction(d.at.ID, target, author)
	}
	reactions, err := d.deps.Conversations.Reactions(d.at.Account, d.at.ID, target)
	if nodeapi.IsGone(err) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	for _, r := range reactions {
		if r.Dir == who.dir && (who.author.IsZero() || r.Author == who.author) {
			r.Emoji = strings.TrimSpace(msgconv.CleanText(r.Emoji))
			return &r, nil
		}
	}
	return nil, nil
}

// groupReaction returns the reaction of a member that counts, with an empty emoji when it was
// taken back, nil for none: the latest that one of our accounts has, by the clock of the
// member. An account may know of it before others do.
func (e *Events) groupReaction(group store.ConversationID, target peer.GUID, author identity.PublicKey) (*store.Reaction, error) {
	accounts, err := e.deps.GroupRooms.Accounts(group)
	if err != nil {
		return nil, err
	}
	var latest *store.Reaction
	for _, account := range accounts {
		r, err := e.deps.Groups.GroupReaction(account, group, target, author)
		if nodeapi.IsGone(err) {
			continue
		}
		if err != nil {
			return nil, err
		}
		r.Emoji = strings.TrimSpace(msgconv.CleanText(r.Emoji))
		if latest == nil || r.SendTime > latest.SendTime {
			latest = &r
		}
	}
	return latest, nil
}

// GroupReactions returns the reactions to a message of a group that count.
func (e *Events) GroupReactions(group store.ConversationID, target peer.GUID) ([]store.Reaction, error) {
	accounts, err := e.deps.GroupRooms.Accounts(group)
	if err != nil {
		return nil, err
	}
	authors := make(map[identity.PublicKey]bool)
	var found []store.Reaction
	for _, account := range accounts {
		reactions, err := e.deps.Groups.ConversationReactions(account, group, target)
		if err != nil && !nodeapi.IsGone(err) {
			return nil, err
		}
		for _, r := range reactions {
			author := r.Author
			if r.Dir == store.Out {
				author = account
			}
			if authors[author] {
				continue
			}
			authors[author] = true
			latest, err := e.groupReaction(group, target, author)
			if err != nil {
				return nil, err
			}
			if latest != nil && latest.Emoji != "" {
				latest.Dir, latest.Author = store.In, author
				found = append(found, *latest)
			}
		}
	}
	return found, nil
}

// isFromRoom reports whether one of our users has reacted in the room.
func (d *delivery) isFromRoom(r store.Reaction) (bool, error) {
	m, err := d.deps.Conversations.Message(r.Author, d.at.ID, store.MessageID{Dir: store.Out, GUID: r.Message.GUID})
	if nodeapi.IsGone(err) {
		return false, nil
	}
	return err == nil && msgconv.IsMatrixSource(m.Source), err
}

// syncReaction makes the room show the reaction of somebody that counts, in steps with a
// transaction each: it removes the old one and adds the new one.
func (d *delivery) syncReaction(ctx context.Context, target peer.GUID, who reactor) error {
	message, err := d.shownTarget(ctx, target)
	if err != nil || message == "" {
		return err
	}
	sender := d.reactorSender(who)
	wanted, err := d.effective(target, who)
	if err != nil {
		return err
	}
	if wanted != nil && wanted.Emoji != "" && d.isGroup() && !d.old {
		if fromRoom, err := d.isFromRoom(*wanted); fromRoom || err != nil {
			return err // it has an event of its own, and the library takes back those before
		}
	}
	row, err := d.deps.Bridge.DB.Reaction.GetByID(ctx, d.portalKey().Receiver, message, "", sender.Sender, "")
	if err != nil {
		return fmt.Errorf("look for the reaction that is shown: %w", err)
	}
	if row != nil && (wanted == nil || wanted.Emoji != row.Emoji) {
		err := d.change(ctx, "reaction removed", sender, "A reaction was taken back, and cannot be removed in Matrix (%s).",
			func(ctx context.Context) error {
				return d.queue(ctx, who.part(reactionRemoved), &simplevent.Reaction{
					EventMeta: d.meta(bridgev2.RemoteEventReactionRemove, sender, d.ev.Time.Time()), TargetMessage: message,
				})
			})
		if err != nil {
			return err
		}
	}
	if wanted == nil || wanted.Emoji == "" || (row != nil && wanted.Emoji == row.Emoji) {
		return nil
	}
	return d.addReaction(ctx, message, sender, who, wanted)
}

// addReaction shows a reaction when the room has none of its sender.
func (d *delivery) addReaction(
	ctx context.Context, message networkid.MessageID, sender bridgev2.EventSender, who reactor, wanted *store.Reaction,
) error {
	portal, err := d.existingRoom(ctx)
	if err != nil || portal == nil {
		return err
	}
	id := mimirid.Message(d.at.ID, wanted.Message, 0)
	return d.unit(ctx, portal, unit{
		key: "reaction " + string(id), sender: sender,
		send: func(ctx context.Context) error {
			if d.isGroup() {
				if err := d.unlessSkipped(d.settleRoom(ctx, portal)); err != nil {
					return err
				}
				row, err := d.deps.Bridge.DB.Reaction.GetByID(ctx, portal.Receiver, message, "", sender.Sender, "")
				if err != nil || row != nil && row.Emoji == wanted.Emoji {
					return err
				}
			}
			if d.at.InDoubt {
				found, err := d.recoverReaction(ctx, message, id, sender, wanted)
				if err = d.unlessSkipped(err); err != nil || found {
					return err
				}
			}
			scope := homeserver.NewScope(d.ev, who.part(reactionAdded))
			if d.isGroup() {
				scope = homeserver.NewNamedScope(fmt.Sprintf("group reaction/%s/%t", id, d.old))
				d.doubts.begin(d.at.ID)
			}
			err := d.queueIn(ctx, scope, &simplevent.Reaction{
				EventMeta:     d.meta(bridgev2.RemoteEventReaction, sender, d.ev.Time.Time()),
				TargetMessage: message, Emoji: wanted.Emoji,
				ExtraContent: map[string]any{mimirid.MarkerKey: mimirid.Marker(id)},
			})
			if err == nil && d.isGroup() {
				d.doubts.end(d.at.ID, portal.MXID)
			}
			return err
		},
		exists: func(ctx context.Context) error {
			if found, err := d.recoverReaction(ctx, message, id, sender, wanted); err != nil || !found {
				d.deps.Log.Warn("reaction is in its room under an unknown event id", "contact", d.at.ID.Short())
			}
			return nil
		},
		replace: func(ctx context.Context, sender bridgev2.EventSender, why error) error {
			text := fmt.Sprintf("The reaction %s cannot be shown in Matrix (%s).", wanted.Emoji, notices.ReasonOf(why))
			return d.putNotice(ctx, portal, d.notice(d.ev.Seq, who.part(reactionAdded)), sender, d.ev.Time.Time(), text)
		},
	})
}

// The parts of an entry that reactions are, for transaction ids; the side is added to
// them. The parts of messages count from 0.
const (
	reactionAdded   = 1_000_000
	reactionRemoved = 1_000_010
)

// shownTarget returns the message that a reaction is about, when it is in the room.
func (d *delivery) shownTarget(ctx context.Context, target peer.GUID) (networkid.MessageID, error) {
	for _, dir := range []store.Direction{store.In, store.Out} {
		m, err := d.deps.Conversations.Message(d.at.Account, d.at.ID, store.MessageID{Dir: dir, GUID: int64(target)})
		if nodeapi.IsGone(err) {
			continue
		}
		if err != nil {
			return "", err
		}
		id, err := d.shownAs(ctx, m)
		if err != nil {
			return "", err
		}
		rows, err := d.deps.Bridge.DB.Message.GetAllPartsByID(ctx, d.at.Login.ID, id)
		if err != nil {
			return "", fmt.Errorf("look for what is reacted to: %w", err)
		}
		if len(visible(rows)) > 0 {
			return id, nil
		}
		if msgconv.SourceEvent(m.Source) != "" && time.Since(m.Created.Time()) < noteTime {
			return "", errNotNoted
		}
	}
	return "", nil
}

// errNotNoted means that the message reacted to was written in the room just now, and
// that its row is not inserted yet.
var errNotNoted = errors.New("the message reacted to is not noted yet")

// recoverReaction looks for a reaction that may have been sent without our knowing it, as
// recover does for messages.
func (d *delivery) recoverReaction(
	ctx context.Context, message, id networkid.MessageID, sender bridgev2.EventSender, wanted *store.Reaction,
) (found bool, err error) {
	portal, err := d.deps.Bridge.GetExistingPortalByKey(ctx, d.portalKey())
	if err != nil || portal == nil || portal.MXID == "" {
		return false, err
	}
	shown, err := d.find(ctx, portal.MXID, id)
	if err != nil || len(shown) == 0 {
		return false, err
	}
	evt := shown[0]
	err = d.deps.Bridge.DB.Reaction.Upsert(ctx, &database.Reaction{
		Room: portal.PortalKey, MessageID: message, SenderID: sender.Sender, SenderMXID: evt.Sender,
		MXID: evt.ID, Timestamp: wanted.SendTime.Time(), Emoji: wanted.Emoji,
	})
	if err != nil {
		return false, fmt.Errorf("note the reaction that was in the room already: %w", err)
	}
	for _, again := range shown[1:] {
		if err := d.deps.Deduper.Redact(ctx, again, evt.ID); err != nil {
			return false, err
		}
	}
	return true, nil
}
