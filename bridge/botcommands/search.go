// SPDX-License-Identifier: MPL-2.0

package botcommands

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"maunium.net/go/mautrix/bridgev2/commands"

	"github.com/mimird/mimird/actors/search"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/bridge/groupchat"
	"github.com/mimird/mimird/bridge/mimirid"
	"github.com/mimird/mimird/bridge/msgconv"
	"github.com/mimird/mimird/bridge/notices"
	"github.com/mimird/mimird/bridge/people"
)

const (
	// maxFound is how many messages the command search shows of each login, and how many
	// contacts and groups.
	maxFound = 10
	// maxExcerpt is how much of a message it shows, in bytes.
	maxExcerpt = 200
)

// Search finds messages of an account; *search.Service is one.
type Search interface {
	Search(ctx context.Context, q search.Query) (search.Results, error)
}

var (
	errNoWords     = errors.New("say what to look for: search <words>")
	errSearchBound = errors.New("the people of this room would see what was said before it was bridged: search in the room where you talk with the bot")
)

// commandSearch shows messages with a link to each that is in a room: of all conversations
// of the user, or of the one in whose room it is said.
func (c *Commands) commandSearch(ce *commands.Event) {
	if strings.TrimSpace(ce.RawArgs) == "" {
		replyError(ce, errNoWords)
		return
	}
	lines, err := c.searchLines(ce)
	if err != nil {
		replyError(ce, err)
		return
	}
	if len(lines) == 0 {
		lines = []string{"Nothing was found."}
	}
	replyText(ce, strings.Join(lines, "\n"))
}

func (c *Commands) searchLines(ce *commands.Event) ([]string, error) {
	if ce.Portal != nil {
		cl, conversation, err := c.roomOf(ce)
		if err != nil {
			return nil, err
		}
		bound, err := c.deps.Relay.IsBoundRoom(ce.Ctx, ce.Portal)
		if err == nil && bound {
			err = errSearchBound
		}
		if err != nil {
			return nil, err
		}
		return cl.searchLines(ce.Ctx, ce.RawArgs, conversation)
	}
	var lines []string
	clients := c.clients(ce)
	for _, cl := range clients {
		found, err := cl.searchLines(ce.Ctx, ce.RawArgs, store.ConversationID{})
		if err != nil {
			return nil, err
		}
		if len(clients) > 1 && len(found) > 0 {
			lines = append(lines, cl.login.RemoteName+":")
		}
		lines = append(lines, found...)
	}
	return lines, nil
}

// searchLines describes what is found of one login, in one conversation or, for the zero id,
// in all and among their names.
func (cl *client) searchLines(ctx context.Context, words string, in store.ConversationID) (lines []string, err error) {
	if in.IsZero() {
		if lines, err = cl.foundNames(ctx, words); err != nil {
			return nil, err
		}
	}
	found, err := search.Results{}, search.ErrNotReady
	if cl.deps.Search != nil {
		found, err = cl.deps.Search.Search(ctx, search.Query{Account: cl.account, Words: words, Conversation: in, Limit: maxFound})
	}
	switch {
	case errors.Is(err, search.ErrNotReady):
		return append(lines, "Messages were not searched: the node has no search index at this moment."), nil
	case err != nil:
		return nil, err
	}
	for _, id := range found.Names {
		if id.Kind() == store.KindGroup {
			lines = append(lines, "Group "+cl.conversationName(id)+cl.roomLink(ctx, id))
		}
	}
	for _, hit := range found.Messages {
		m := hit.Message
		who := "you"
		if m.ID.Dir == store.In {
			who = cl.authorName(m)
		}
		where := ""
		if in.IsZero() && (m.Conversation.Kind() == store.KindGroup || m.ID.Dir == store.Out) {
			where = " to " + cl.conversationName(m.Conversation)
		}
		lines = append(lines, fmt.Sprintf("%s%s, %s: %s%s", who, where, notices.Moment(m.SendTime), excerpt(hit.Excerpt), cl.messageLink(ctx, m)))
	}
	if found.Next != "" {
		lines = append(lines, "There are more: say more words, or look on the page of the node or with `mimird search`.")
	}
	if found.Unread > 0 {
		lines = append(lines, "The index has not read everything yet, so messages may be missing.")
	}
	return lines, nil
}

// foundNames describes the contacts whose name contains the words.
func (cl *client) foundNames(ctx context.Context, words string) ([]string, error) {
	contacts, err := people.Named(cl.deps.Node, cl.account, func(name string) bool { return strings.Contains(name, people.Fold(words)) }, words)
	if err != nil {
		return nil, err
	}
	var lines []string
	for _, contact := range contacts[:min(len(contacts), maxFound)] {
		id := store.ContactConversation(contact.ID)
		line := "Contact " + cl.deps.Names.OfContact(contact) + cl.roomLink(ctx, id)
		if !strings.Contains(line, "https://") {
			line += fmt.Sprintf(" (`start-chat %s`)", contact.ID)
		}
		lines = append(lines, line)
	}
	if over := len(contacts) - maxFound; over > 0 {
		lines = append(lines, fmt.Sprintf("… and %d more contacts", over))
	}
	return lines, nil
}

func (cl *client) conversationName(id store.ConversationID) string {
	if cl.deps.Conversations.InGroups(id) {
		if g, err := cl.deps.Groups.Group(cl.account, id); err == nil {
			return groupchat.Name(g)
		}
	} else if contact, err := cl.deps.Node.Contact(cl.account, id.Contact()); err == nil {
		return cl.deps.Names.OfContact(contact)
	}
	return id.Short()
}

// authorName is the name of who has written a message.
func (cl *client) authorName(m store.Message) string {
	if !cl.deps.Conversations.InGroups(m.Conversation) {
		return cl.conversationName(m.Conversation)
	}
	if member, err := cl.deps.Groups.GroupMember(cl.account, m.Conversation, m.Author); err == nil && member.Name != "" {
		return msgconv.CleanName(member.Name)
	}
	return m.Author.Short()
}

// roomLink returns a link to the room of a conversation, with a space before it, "" for none.
func (cl *client) roomLink(ctx context.Context, id store.ConversationID) string {
	portal, err := cl.deps.Bridge.GetExistingPortalByKey(ctx, mimirid.Portal(cl.account, id))
	if err != nil || portal == nil || portal.MXID == "" {
		return ""
	}
	return " " + portal.MXID.URI(cl.deps.Matrix.ServerName()).MatrixToURL()
}

// messageLink returns a link to the event of a message, with a space before it, "" for none.
func (cl *client) messageLink(ctx context.Context, m store.Message) string {
	portal, err := cl.deps.Bridge.GetExistingPortalByKey(ctx, mimirid.Portal(cl.account, m.Conversation))
	if err != nil || portal == nil || portal.MXID == "" {
		return ""
	}
	row, err := cl.deps.Bridge.DB.Message.GetFirstPartByID(ctx, portal.Receiver, mimirid.Message(m.Conversation, m.ID, 0))
	if err != nil || row == nil || row.HasFakeMXID() {
		return ""
	}
	return " " + portal.MXID.EventURI(row.MXID, cl.deps.Matrix.ServerName()).MatrixToURL()
}

// excerpt makes one line of a part of a message, without what would be markup or a mention.
func excerpt(text string) string {
	words := strings.Fields(text)
	for i, word := range words {
		words[i] = msgconv.CleanName(word)
	}
	text = strings.Join(words, " ")
	if len(text) <= maxExcerpt {
		return text
	}
	end := maxExcerpt
	for !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + "…"
}
