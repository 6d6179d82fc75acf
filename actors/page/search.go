// SPDX-License-Identifier: MPL-2.0

package page

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/mimird/mimird/actors/control"
)

const (
	// foundPage is how many messages a search shows at once.
	foundPage = 50
	// maxWords is how long the words of a search may be, in bytes, as in the API.
	maxWords = 512
	// aroundMessage is how many messages after one that was found are shown with it.
	aroundMessage = messagePage / 2
)

// searchView is what a search has found.
type searchView struct {
	Account, Words string
	// With is the conversation that is searched, "" for all; Name is its name.
	With, Name string
	Files      bool
	// Asked says that there was something to search for.
	Asked bool
	Names []control.FoundName
	Chats []foundIn
	// Next leads to the next page, "" on the last one.
	Next string
	// Incomplete says that messages may be missing.
	Incomplete bool
}

// foundIn is what was found in one conversation, the latest message first.
type foundIn struct {
	Chat, Name string
	Messages   []control.FoundMessage
	// Only leads to a search in this conversation alone, "" when this is one.
	Only string
}

// searchLink returns the address of a search.
func searchLink(account string, query url.Values) string {
	for key := range query {
		if query.Get(key) == "" {
			query.Del(key)
		}
	}
	link := accountLink(account, "search")
	if len(query) > 0 {
		link += "?" + query.Encode()
	}
	return link
}

// foundLink returns the address of a message in its conversation.
func foundLink(account, chat string, m control.Message) string {
	return accountLink(account, "c", chat) + "?around=" + strconv.FormatUint(m.Order, 10) + "#m-" + url.PathEscape(m.ID)
}

// search shows what a search has found, by conversation.
func (s *server) search(w http.ResponseWriter, r *request) {
	ctx, cancel := r.ask()
	defer cancel()
	f, err := s.frameOf(ctx, r, "chats", "Search")
	if err != nil {
		s.fail(w, r, err)
		return
	}
	query := r.URL.Query()
	view := searchView{
		Account: f.Account.ID, Words: strings.TrimSpace(query.Get("words")), With: query.Get("with"), Files: query.Get("files") != "",
	}
	if len(view.Words) > maxWords {
		s.wrong(w, r, http.StatusUnprocessableEntity, "These are too many words; search for fewer.")
		return
	}
	if view.With != "" {
		chat, err := s.api.Conversation(ctx, view.Account, view.With)
		if err != nil {
			s.fail(w, r, err)
			return
		}
		view.With, view.Name = chat.ID, chat.Name
	}
	if view.Asked = view.Words != "" || view.Files; view.Asked {
		found, err := s.api.Search(ctx, view.Account, control.Search{
			Words: view.Words, With: view.With, Files: view.Files, Limit: foundPage, Before: query.Get("before"),
		})
		if err != nil {
			s.fail(w, r, err)
			return
		}
		view.fill(found)
	}
	f.Page = view
	s.render(w, http.StatusOK, "search", f)
}

// fill groups a page of what was found by conversation.
func (v *searchView) fill(found control.Found) {
	query := func(with, before string) string {
		q := url.Values{"words": {v.Words}, "with": {with}, "before": {before}}
		if v.Files {
			q.Set("files", "1")
		}
		return searchLink(v.Account, q)
	}
	v.Names, v.Incomplete = found.Names, found.Unread > 0
	if found.Next != "" {
		v.Next = query(v.With, found.Next)
	}
	at := make(map[string]int)
	for _, hit := range found.Messages {
		chat := hit.Message.Group
		if chat == "" {
			chat = hit.Message.Contact
		}
		i, known := at[chat]
		if !known {
			i = len(v.Chats)
			at[chat] = i
			in := foundIn{Chat: chat, Name: hit.Name}
			if v.With == "" {
				in.Only = query(chat, "")
			}
			v.Chats = append(v.Chats, in)
		}
		v.Chats[i].Messages = append(v.Chats[i].Messages, hit)
	}
}
