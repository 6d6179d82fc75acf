// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"rsc.io/qr"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// The part of the API that does not care whether a conversation is with a contact or in a
// group, for programs that show both alike.

// ConversationPath names a conversation of an account. It is exported, as [AccountPath] is.
type ConversationPath struct {
	AccountPath
	Conversation string `path:"conversation" doc:"A contact, by key, link or name, or a group, by id or name; a name means a contact before it means a group"`
}

// ConversationMessagePath names a message of a conversation.
type ConversationMessagePath struct {
	ConversationPath
	Message string `path:"message" doc:"Id of the message"`
}

// Range selects messages of a conversation.
type Range struct {
	Before uint64 `query:"before" doc:"Order of the message before which to begin; 0 for the newest"`
	After  uint64 `query:"after" doc:"Order of the message after which to begin; it counts instead of before"`
	Limit  int    `query:"limit" default:"50" minimum:"1" maximum:"1000"`
}

// MessageReaction is a reaction to a message, as it is shown beside the message.
type MessageReaction struct {
	Emoji     string `json:"emoji"`
	Direction string `json:"direction" enum:"in,out"`
	// Of a reaction in a group.
	Author     string `json:"author,omitempty"`
	AuthorName string `json:"author_name,omitempty"`
}

func (s *service) registerChats(api huma.API, mux *http.ServeMux) {
	const one = "/v1/accounts/{account}/conversations/{conversation}"
	const message = one + "/messages/{message}"
	huma.Get(api, one, func(_ context.Context, in *ConversationPath) (*body[Conversation], error) {
		account, conversation, err := s.conversation(in)
		if err != nil {
			return nil, err
		}
		return s.one(account, conversation)
	})
	huma.Get(api, one+"/messages", s.chatMessages)
	huma.Get(api, one+"/calls", s.missedCalls)
	huma.Post(api, one+"/messages", s.sendToChat, func(o *huma.Operation) { o.MaxBodyBytes = maxBody })
	huma.Get(api, message, s.chatMessage)
	huma.Post(api, message+"/cancel", s.cancelInChat)
	huma.Post(api, one+"/read", s.markChatRead)
	huma.Post(api, one+"/reactions", s.reactInChat)
	huma.Get(api, one+"/files", s.files)
	huma.Get(api, message+"/file", s.file)
	huma.Post(api, message+"/file/fetch", s.fetchInChat)
	mux.HandleFunc("GET "+message+"/file/content", s.contentInChat)
	mux.HandleFunc("GET "+one+"/avatar", s.chatAvatar)
	mux.HandleFunc("GET /v1/accounts/{account}/avatar", s.accountAvatar)
	mux.HandleFunc("GET /v1/accounts/{account}/qr", s.accountQR)
}

// conversation finds a conversation: names of contacts come before names of groups.
func (s *service) conversation(in *ConversationPath) (account identity.PublicKey, conversation store.ConversationID, err error) {
	if account, err = s.account(in.Account); err != nil {
		return account, conversation, err
	}
	if id, err := store.ParseConversationID(in.Conversation); err == nil {
		return account, id, nil
	}
	_, contact, err := s.contact(&ContactPath{in.AccountPath, in.Conversation})
	if err == nil {
		return account, store.ContactConversation(contact), nil
	}
	if refused, ok := errors.AsType[huma.StatusError](err); !ok || refused.GetStatus() != http.StatusNotFound {
		return account, conversation, err
	}
	g, groupErr := s.group(&GroupPath{in.AccountPath, in.Conversation}, node.GroupAny)
	if groupErr != nil {
		if refused, ok := errors.AsType[huma.StatusError](groupErr); ok && refused.GetStatus() == http.StatusNotFound {
			groupErr = huma.Error404NotFound("there is no such contact or group; mimird contact list and mimird group list show them")
		}
		return account, conversation, groupErr
	}
	return account, g.ID, nil
}

// messageIn finds a conversation and parses the id of a message.
func (s *service) messageIn(in *ConversationMessagePath) (account identity.PublicKey, conversation store.ConversationID, id store.MessageID, err error) {
	if account, conversation, err = s.conversation(&in.ConversationPath); err != nil {
		return account, conversation, id, err
	}
	if id, err = store.ParseMessageID(in.Message); err != nil {
		err = huma.Error422UnprocessableEntity(err.Error())
	}
	return account, conversation, id, err
}

func (s *service) chatMessages(_ context.Context, in *struct {
	ConversationPath
	Range
},
) (*body[[]Message], error) {
	account, conversation, err := s.conversation(&in.ConversationPath)
	if err != nil {
		return nil, err
	}
	return s.page(account, conversation, in.Range)
}

// Call is a call of a contact that nobody has answered, or the answering machine.
type Call struct {
	Seq   uint64    `json:"seq" doc:"Of its event"`
	Time  time.Time `json:"time"`
	After uint64    `json:"after" doc:"Order of the last message before it, 0 for none"`
}

// maxCalls is how many missed calls of a contact are listed.
const maxCalls = 100

// missedCalls lists missed calls, newest first. Groups have none.
func (s *service) missedCalls(_ context.Context, in *ConversationPath) (*body[[]Call], error) {
	account, conversation, err := s.conversation(in)
	if err != nil {
		return nil, err
	}
	out := []Call{}
	if conversation.Kind() != store.KindContact {
		return &body[[]Call]{out}, nil
	}
	calls, err := s.node.MissedCalls(account, conversation.Contact(), maxCalls)
	for _, c := range calls {
		out = append(out, Call{c.Seq, c.Time.Time(), c.After})
	}
	return &body[[]Call]{out}, problem(err)
}

// page answers with messages of a contact's or a group's conversation, newest first, and
// the reactions to each.
func (s *service) page(account identity.PublicKey, conversation store.ConversationID, which Range) (*body[[]Message], error) {
	var page []store.Message
	var err error
	if which.After > 0 {
		page, err = s.node.ConversationMessagesAfter(account, conversation, which.After, which.Limit)
		slices.Reverse(page)
	} else {
		page, err = s.node.ConversationMessages(account, conversation, which.Before, which.Limit)
	}
	if err != nil {
		return nil, problem(err)
	}
	out := []Message{}
	for _, m := range page {
		view, err := s.withReactions(m)
		if err != nil {
			return nil, problem(err)
		}
		out = append(out, view)
	}
	return &body[[]Message]{out}, nil
}

func (s *service) withReactions(m store.Message) (Message, error) {
	view := s.message(m)
	if view.Reaction != nil {
		return view, nil
	}
	reactions, err := s.node.ConversationReactions(m.Account, m.Conversation, peer.GUID(m.ID.GUID))
	for _, r := range reactions {
		one := MessageReaction{Emoji: r.Emoji, Direction: r.Dir.String()}
		if !r.Author.IsZero() {
			one.Author, one.AuthorName = r.Author.String(), s.memberName(m.Account, m.Conversation, r.Author)
		}
		view.Reactions = append(view.Reactions, one)
	}
	return view, err
}

func (s *service) chatMessage(_ context.Context, in *ConversationMessagePath) (*body[Message], error) {
	account, conversation, id, err := s.messageIn(in)
	if err != nil {
		return nil, err
	}
	m, err := s.node.ConversationMessage(account, conversation, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, huma.Error404NotFound("there is no such message in that conversation")
	}
	if err != nil {
		return nil, problem(err)
	}
	view, err := s.withReactions(m)
	return &body[Message]{view}, problem(err)
}

// to addresses a message to a contact or a group.
func to(conversation store.ConversationID) (contact identity.PublicKey, group store.ConversationID) {
	if conversation.Kind() == store.KindGroup {
		return contact, conversation
	}
	return conversation.Contact(), group
}

func (s *service) sendToChat(ctx context.Context, in *struct {
	ConversationPath
	Body    Text
	RawBody []byte
},
) (*body[Message], error) {
	out, err := outgoingText(in.Body, in.RawBody)
	if err != nil {
		return nil, err
	}
	account, conversation, err := s.conversation(&in.ConversationPath)
	if err != nil {
		return nil, err
	}
	out.Account = account
	out.Contact, out.Group = to(conversation)
	m, err := s.node.Send(ctx, out)
	if err != nil {
		return nil, groupProblem(err)
	}
	return &body[Message]{s.message(m)}, nil
}

func (s *service) cancelInChat(ctx context.Context, in *ConversationMessagePath) (*body[Message], error) {
	account, conversation, id, err := s.messageIn(in)
	if err != nil {
		return nil, err
	}
	if id.Dir != store.Out {
		return nil, huma.Error422UnprocessableEntity("only messages that this account has sent can be cancelled")
	}
	cancelled, err := s.node.CancelGroupMessage(ctx, account, conversation, id, cancelReason)
	if err != nil {
		return nil, groupProblem(err)
	}
	m, err := s.node.ConversationMessage(account, conversation, id)
	if errors.Is(err, store.ErrNotFound) {
		return nil, huma.Error404NotFound("there is no such message in that conversation")
	}
	if err != nil {
		return nil, problem(err)
	}
	if !cancelled && m.Reason != cancelReason {
		return nil, huma.Error409Conflict("the message is " + m.State.String() + " already, and cannot be cancelled")
	}
	return &body[Message]{s.message(m)}, nil
}

func (s *service) markChatRead(ctx context.Context, in *struct {
	ConversationPath
	Body ReadMark
},
) (*body[Conversation], error) {
	account, conversation, err := s.conversation(&in.ConversationPath)
	if err != nil {
		return nil, err
	}
	if err := s.node.MarkRead(ctx, account, conversation, in.Body.Order); err != nil {
		return nil, problem(err)
	}
	return s.one(account, conversation)
}

func (s *service) reactInChat(ctx context.Context, in *struct {
	ConversationPath
	Body Reaction
},
) (*body[Message], error) {
	account, conversation, err := s.conversation(&in.ConversationPath)
	if err != nil {
		return nil, err
	}
	source, err := sourceOf(in.Body.Source)
	if err != nil {
		return nil, err
	}
	target, err := parseGUID(in.Body.Message)
	if err != nil {
		return nil, err
	}
	out := node.OutgoingReaction{Account: account, Source: source, Target: target, Emoji: in.Body.Emoji}
	out.Contact, out.Group = to(conversation)
	m, err := s.node.React(ctx, out)
	if err != nil {
		return nil, groupProblem(err)
	}
	return &body[Message]{s.message(m)}, nil
}

func (s *service) fetchInChat(ctx context.Context, in *ConversationMessagePath) (*body[File], error) {
	account, conversation, id, err := s.messageIn(in)
	if err != nil {
		return nil, err
	}
	info, err := s.node.FetchConversationMedia(ctx, account, conversation, id)
	if err != nil {
		return nil, fileProblem(err)
	}
	return &body[File]{fileOf(info)}, nil
}

// files lists the files of the newest messages of a conversation, newest first.
func (s *service) files(_ context.Context, in *ConversationPath) (*body[[]File], error) {
	account, conversation, err := s.conversation(in)
	if err != nil {
		return nil, err
	}
	messages, err := s.node.ConversationMessages(account, conversation, 0, filePage)
	if err != nil {
		return nil, problem(err)
	}
	out := []File{}
	for _, m := range messages {
		info, err := s.node.ConversationMedia(account, conversation, m.ID)
		if errors.Is(err, transfer.ErrNoMedia) {
			continue
		}
		if err != nil {
			return nil, problem(err)
		}
		out = append(out, fileOf(info))
	}
	return &body[[]File]{out}, nil
}

func (s *service) file(_ context.Context, in *ConversationMessagePath) (*body[File], error) {
	account, conversation, id, err := s.messageIn(in)
	if err != nil {
		return nil, err
	}
	info, err := s.node.ConversationMedia(account, conversation, id)
	if err != nil {
		return nil, fileProblem(err)
	}
	return &body[File]{fileOf(info)}, nil
}

// conversationPath is what the requests that are not huma's have in their path.
func conversationPath(r *http.Request) ConversationPath {
	return ConversationPath{AccountPath{r.PathValue("account")}, r.PathValue("conversation")}
}

func (s *service) contentInChat(w http.ResponseWriter, r *http.Request) {
	account, conversation, id, err := s.messageIn(&ConversationMessagePath{conversationPath(r), r.PathValue("message")})
	if err != nil {
		writeProblem(w, err)
		return
	}
	s.serveContent(w, r, account, conversation, id)
}

func (s *service) sendFileToChat(w http.ResponseWriter, r *http.Request) {
	in := conversationPath(r)
	account, conversation, err := s.conversation(&in)
	if err != nil {
		writeProblem(w, err)
		return
	}
	s.takeFile(w, r, account, conversation)
}

// chatAvatar answers with the picture of a contact or group.
func (s *service) chatAvatar(w http.ResponseWriter, r *http.Request) {
	in := conversationPath(r)
	account, conversation, err := s.conversation(&in)
	if err != nil {
		writeProblem(w, err)
		return
	}
	if conversation.Kind() == store.KindGroup {
		g, err := s.node.Group(account, conversation)
		writePicture(w, g.Avatar, groupProblem(err))
		return
	}
	c, err := s.node.Contact(account, conversation.Contact())
	writePicture(w, c.Avatar, problem(err))
}

func (s *service) accountAvatar(w http.ResponseWriter, r *http.Request) {
	id, err := s.account(r.PathValue("account"))
	if err != nil {
		writeProblem(w, err)
		return
	}
	a, err := s.node.Account(id)
	writePicture(w, a.Avatar, problem(err))
}

func writePicture(w http.ResponseWriter, picture []byte, err error) {
	if err == nil && len(picture) == 0 {
		err = huma.Error404NotFound("there is no picture")
	}
	if err != nil {
		writeProblem(w, err)
		return
	}
	writeUntyped(w)
	_, _ = w.Write(picture) // the client may be gone
}

// accountQR answers with the QR code of an account's link, as an SVG picture of black on
// white with the light around it that readers need.
func (s *service) accountQR(w http.ResponseWriter, r *http.Request) {
	id, err := s.account(r.PathValue("account"))
	if err != nil {
		writeProblem(w, err)
		return
	}
	a, err := s.node.Account(id)
	if err != nil {
		writeProblem(w, problem(err))
		return
	}
	code, err := qr.Encode(s.node.Link(a).String(), qr.L)
	if err != nil {
		writeProblem(w, fmt.Errorf("draw QR code: %w", err))
		return
	}
	w.Header().Set("Content-Type", "image/svg+xml")
	w.Header().Set("Content-Security-Policy", "default-src 'none'")
	_, _ = w.Write(svgOf(code)) // the client may be gone
}

// svgOf draws a QR code, a row of dark modules as one line each.
func svgOf(code *qr.Code) []byte {
	const quiet = 4 // modules of light that the standard wants around it
	size := code.Size + 2*quiet
	out := fmt.Appendf(nil, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" shape-rendering="crispEdges">`+
		`<path fill="#fff" d="M0 0h%dv%dH0z"/><path fill="#000" d="`, size, size, size, size)
	for y := range code.Size {
		for x := 0; x < code.Size; x++ {
			run := 0
			for code.Black(x+run, y) {
				run++
			}
			if run > 0 {
				out = fmt.Appendf(out, "M%d %dh%dv1h-%dz", x+quiet, y+quiet, run, run)
				x += run
			}
		}
	}
	return append(out, `"/></svg>`...)
}
