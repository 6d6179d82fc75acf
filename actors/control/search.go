// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/search"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The part of the API that is about search.

// Search is a question about the conversations of an account. It needs words, or one of
// the conditions.
type Search struct {
	Words string    `query:"words" maxLength:"512" doc:"All of these words, in any order; a word of three characters or more also finds longer ones that begin with it, words in double quotes are found exactly"`
	With  string    `query:"with" doc:"Contact or group whose conversation is searched; key, id or name"`
	From  string    `query:"from" doc:"Who has written it: a contact, an identity key, or - for the account itself"`
	Since time.Time `query:"since" doc:"When it was sent, at the earliest"`
	Until time.Time `query:"until" doc:"Before when it was sent"`
	Files bool      `query:"files" doc:"Messages with files alone"`
	Limit int       `query:"limit" default:"50" minimum:"1" maximum:"200"`
	// Before is Found.Next of the page before this one.
	Before string `query:"before" maxLength:"32" doc:"Field next of the page before this one"`
}

// Found is a page of what was found, the latest message first.
type Found struct {
	Messages []FoundMessage `json:"messages"`
	Names    []FoundName    `json:"names" doc:"Contacts and groups whose name contains the words, on the first page of a search without conditions; at most 20"`
	Next     string         `json:"next,omitempty" doc:"Asks for the next page; left out on the last one"`
	Unread   uint64         `json:"unread_events,omitempty" doc:"Events that the index has not read yet: messages may be missing"`
}

// FoundMessage is a message that was found.
type FoundMessage struct {
	Message Message `json:"message"`
	Name    string  `json:"name" doc:"Of the contact or group whose conversation it is in"`
	Excerpt string  `json:"excerpt" doc:"The part of it that matches"`
}

// FoundName is a contact or group that was found by its name.
type FoundName struct {
	Contact string `json:"contact,omitempty" doc:"Identity key"`
	Group   string `json:"group,omitempty" doc:"Id of the group"`
	Name    string `json:"name"`
}

func (s *service) registerSearch(api huma.API) {
	huma.Get(api, "/v1/accounts/{account}/search", s.search)
	huma.Post(api, "/v1/search/rebuild", s.rebuildSearch)
}

func (s *service) search(ctx context.Context, in *struct {
	AccountPath
	Search
},
) (*body[Found], error) {
	if s.opts.Search == nil {
		return nil, searchProblem(search.ErrNotReady)
	}
	account, err := s.account(in.Account)
	if err != nil {
		return nil, err
	}
	q := search.Query{
		Account: account, Words: in.Words, Since: in.Since, Until: in.Until, Files: in.Files, Limit: in.Limit, Before: in.Before,
	}
	if q.Conversation, err = s.conversationNamed(in.Account, in.With); err != nil {
		return nil, err
	}
	if q.Sender, err = s.sender(in.Account, account, in.From); err != nil {
		return nil, err
	}
	results, err := s.opts.Search.Search(ctx, q)
	if err != nil {
		return nil, searchProblem(err)
	}
	out := Found{Messages: []FoundMessage{}, Names: []FoundName{}, Next: results.Next, Unread: results.Unread}
	for _, hit := range results.Messages {
		m := hit.Message
		out.Messages = append(out.Messages, FoundMessage{Message: s.message(m), Name: s.conversationName(account, m.Conversation), Excerpt: hit.Excerpt})
	}
	for _, id := range results.Names {
		name := FoundName{Name: s.conversationName(account, id)}
		if id.Kind() == store.KindGroup {
			name.Group = id.String()
		} else {
			name.Contact = id.String()
		}
		out.Names = append(out.Names, name)
	}
	return &body[Found]{out}, nil
}

// rebuildSearch answers before the index is complete.
func (s *service) rebuildSearch(context.Context, *struct{}) (*struct{}, error) {
	if s.opts.Search == nil {
		return nil, searchProblem(search.ErrNotReady)
	}
	s.opts.Search.Rebuild()
	return nil, nil
}

// conversationNamed finds the conversation with a contact or group; the zero id for "".
func (s *service) conversationNamed(account, name string) (store.ConversationID, error) {
	if name == "" {
		return store.ConversationID{}, nil
	}
	path := AccountPath{account}
	_, contact, contactErr := s.contact(&ContactPath{path, name})
	if contactErr == nil {
		return store.ContactConversation(contact), nil
	}
	g, err := s.group(&GroupPath{path, name}, node.GroupAny)
	if err == nil {
		return g.ID, nil
	}
	var status huma.StatusError
	if errors.As(err, &status) && status.GetStatus() == http.StatusNotFound {
		return store.ConversationID{}, contactErr // what most people mean
	}
	return store.ConversationID{}, err
}

// sender finds who has written something: a member of a group, who need not be a contact,
// by key alone.
func (s *service) sender(accountName string, account identity.PublicKey, name string) (identity.PublicKey, error) {
	switch name {
	case "":
		return identity.PublicKey{}, nil
	case "-":
		return account, nil
	}
	if key, err := identity.ParsePublicKey(name); err == nil {
		return key, nil
	}
	_, contact, err := s.contact(&ContactPath{AccountPath{accountName}, name})
	return contact, err
}

// conversationName returns what people call a conversation.
func (s *service) conversationName(account identity.PublicKey, id store.ConversationID) string {
	if id.Kind() == store.KindGroup {
		if g, err := s.node.Group(account, id); err == nil {
			return g.Name
		}
	} else if c, err := s.node.Contact(account, id.Contact()); err == nil {
		return c.DisplayName()
	}
	return ""
}

func searchProblem(err error) error {
	switch {
	case errors.Is(err, search.ErrQuery):
		return huma.Error422UnprocessableEntity(err.Error())
	case errors.Is(err, search.ErrNotReady):
		return huma.Error503ServiceUnavailable(err.Error() + "; the node has to run, and opens or rebuilds the index by itself: try again in a moment")
	}
	return problem(err)
}
