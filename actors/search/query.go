// SPDX-License-Identifier: MPL-2.0

package search

import (
	"cmp"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

const (
	// MaxWords is how long the words of a query may be, in bytes.
	MaxWords = 512
	// MaxLimit is how many messages a page has at most.
	MaxLimit = 200
	// DefaultLimit is how many it has when the query does not say.
	DefaultLimit = 50
	// maxTerms is how many words and phrases a query may have.
	maxTerms = 16
	// maxNames is how many contacts and groups an answer has at most.
	maxNames = 20
	// minPrefix is the length from which on a word also finds longer ones, in characters.
	minPrefix = 3
	// excerptText is how much of a message is shown around what was found, in characters.
	excerptText = 160
)

// ErrQuery is returned for a query that cannot be asked; the text says why.
var ErrQuery = errors.New("invalid search")

// Query is a question about the conversations of one account. It needs words, or one of
// the conditions.
type Query struct {
	Account identity.PublicKey
	// Words are what a message has to contain, all of them, in any order. Case and accents
	// do not matter. A word also finds longer ones that begin with it; words in double
	// quotes are found exactly as they are, one after the other.
	Words string
	// Conversation, when set, is where to look.
	Conversation store.ConversationID
	// Sender, when set, is who has written it: the account itself or somebody else.
	Sender identity.PublicKey
	// Since and Until bound when it was sent: from Since on, before Until. Zero means unbounded.
	Since, Until time.Time
	// Files asks for messages with files alone.
	Files bool
	// Limit is how many messages a page has, [DefaultLimit] for 0, at most [MaxLimit].
	Limit int
	// Before is Results.Next of the page before this one.
	Before string
}

// Results is a page of what was found, the latest message first.
type Results struct {
	Messages []Hit
	// Names are contacts and groups whose name contains the words, on the first page of a
	// query without conditions; at most 20.
	Names []store.ConversationID
	// Next asks for the next page; empty when this is the last one. A page may be short, or
	// empty, and have one that follows.
	Next string
	// Unread is how many events of the account the index has not read yet. When it is not
	// 0, messages may be missing.
	Unread uint64
}

// Hit is a message that was found.
type Hit struct {
	Message store.Message
	// Excerpt is the part of its text, or of the name of its file, that matches.
	Excerpt string
}

// term is one word or phrase.
type term struct {
	words []string
	// prefix says that the last word may be longer.
	prefix bool
}

// parsed is a query in the form of the index.
type parsed struct {
	Query
	terms []term
	// from and to are the seconds between which messages were sent, both included.
	from, to int64
	before   int64 // id, 0 for none
}

func parse(q Query) (parsed, error) {
	p := parsed{Query: q, from: 0, to: maxSeconds}
	if len(q.Words) > MaxWords || !utf8.ValidString(q.Words) {
		return p, fmt.Errorf("%w: the words have more than %d bytes, or are not text", ErrQuery, MaxWords)
	}
	if q.Limit < 0 || q.Limit > MaxLimit {
		return p, fmt.Errorf("%w: a page has at most %d messages", ErrQuery, MaxLimit)
	}
	p.Limit = cmp.Or(q.Limit, DefaultLimit)
	if p.terms = termsOf(q.Words); len(p.terms) > maxTerms {
		return p, fmt.Errorf("%w: more than %d words", ErrQuery, maxTerms)
	}
	if !q.Since.IsZero() {
		p.from = bounded(q.Since)
	}
	if !q.Until.IsZero() {
		p.to = bounded(q.Until.Add(time.Second-1)) - 1
	}
	if len(p.terms) == 0 && p.unconditional() {
		return p, fmt.Errorf("%w: no word with a letter, a digit or a symbol", ErrQuery)
	}
	if len(p.terms) == 0 && strings.TrimSpace(q.Words) != "" {
		return p, fmt.Errorf("%w: no word with a letter, a digit or a symbol", ErrQuery)
	}
	if q.Before != "" {
		id, err := strconv.ParseInt(q.Before, 36, 64)
		if err != nil || id <= 0 {
			return p, fmt.Errorf("%w: not the end of a page", ErrQuery)
		}
		p.before = id
	}
	return p, nil
}

// unconditional reports whether there is nothing but words.
func (p *parsed) unconditional() bool {
	return p.Conversation.IsZero() && p.Sender.IsZero() && p.Since.IsZero() && p.Until.IsZero() && !p.Files
}

func bounded(t time.Time) int64 { return min(max(t.Unix(), 0), maxSeconds) }

// termsOf takes the words of a query apart. What stands between quotes is one term, and so
// is what stands without a space, such as an address.
func termsOf(text string) (terms []term) {
	for i, part := range strings.Split(text, `"`) {
		chunks := []string{part}
		quoted := i%2 == 1
		if !quoted {
			chunks = strings.Fields(part)
		}
		for _, chunk := range chunks {
			var t term
			for _, w := range wordsOf(chunk) {
				t.words = append(t.words, w.folded)
			}
			if n := len(t.words); n > 0 {
				t.prefix = !quoted && utf8.RuneCountInString(t.words[n-1]) >= minPrefix
				terms = append(terms, t)
			}
		}
	}
	return terms
}

// scope begins the words of the index that are not of the text: it is a character of
// private use, which words do not have.
const scope = '\ue000'

const (
	fileScope = string(scope) + "f"
	ownScope  = string(scope) + "o"
)

func conversationScope(n int64) string { return string(scope) + "c" + strconv.FormatInt(n, 36) }

// senderScope is the same for few senders, which does no harm: see [parsed.matches].
func senderScope(key identity.PublicKey) string {
	return string(scope) + "s" + hex.EncodeToString(key[:6])
}

// expression is the query in the language of FTS5, given that of its terms. conversation and peer are the numbers
// of the conversation asked for and of the one with the sender, 0 when the index has none.
func (p *parsed) expression(terms []string, conversation, peerNumber int64) string {
	all := terms
	if !p.Conversation.IsZero() {
		all = append(all, quote(conversationScope(conversation)))
	}
	switch {
	case p.Sender == p.Account && !p.Sender.IsZero():
		all = append(all, quote(ownScope))
	case !p.Sender.IsZero():
		all = append(all, fmt.Sprintf("(%s OR (%s NOT %s))", quote(senderScope(p.Sender)), quote(conversationScope(peerNumber)), quote(ownScope)))
	}
	if p.Files {
		all = append(all, quote(fileScope))
	}
	return strings.Join(all, " AND ")
}

// expression asks for messages with all words of the term. Whether they follow each other
// is seen in the message.
func (t term) expression(ctx context.Context, x *index) (string, error) {
	var all []string
	for i, w := range t.words {
		e := quote(w)
		if t.prefix && i == len(t.words)-1 {
			var err error
			if e, err = prefixExpression(ctx, x, w); err != nil {
				return "", err
			}
		}
		all = append(all, e)
	}
	return strings.Join(all, " AND "), nil
}

// prefixExpression asks for a word and for those that begin with it.
func prefixExpression(ctx context.Context, x *index, prefix string) (string, error) {
	words, ok, err := x.expand(ctx, prefix)
	switch {
	case err != nil:
		return "", err
	case !ok:
		return quote(prefix) + " *", nil // that many words are rare ones
	case len(words) == 0:
		return quote(prefix), nil
	}
	for i, w := range words {
		words[i] = quote(w)
	}
	return "(" + strings.Join(words, " OR ") + ")", nil
}

// quote makes a string of FTS5 of a word, which has no quotes.
func quote(word string) string { return `"` + word + `"` }

// find returns the first of the words where the term is.
func (t term) find(words []word) (first int, ok bool) {
	for i := 0; i+len(t.words) <= len(words); i++ {
		if t.at(words[i:]) {
			return i, true
		}
	}
	return 0, false
}

func (t term) at(words []word) bool {
	n := len(t.words) - 1
	for i, w := range t.words {
		have := words[i].folded
		if have != w && (i < n || !t.prefix || !strings.HasPrefix(have, w)) {
			return false
		}
	}
	return true
}

// matches reports whether a message is what was asked for, and where.
func (p *parsed) matches(m store.Message) (excerpt string, ok bool) {
	if m.Account != p.Account || !p.Conversation.IsZero() && m.Conversation != p.Conversation {
		return "", false
	}
	if !p.Sender.IsZero() && senderOf(m) != p.Sender || p.Files && !eventlog.HasFile(m) {
		return "", false
	}
	if at := secondOf(m.SendTime); at < p.from || at > p.to {
		return "", false
	}
	text, ok := textOf(m)
	if !ok {
		return "", false
	}
	words, at := wordsOf(text), math.MaxInt
	for _, t := range p.terms {
		first, found := t.find(words)
		if !found {
			return "", false
		}
		at = min(at, words[first].start)
	}
	if at == math.MaxInt {
		at = 0
	}
	return excerptOf(text, at), true
}

// excerptOf returns the part of a text around a place, as one line.
func excerptOf(text string, at int) string {
	begin := at
	for n := 0; begin > 0 && n < excerptText/4; n++ {
		_, size := utf8.DecodeLastRuneInString(text[:begin])
		begin -= size
	}
	end := begin
	for n := 0; end < len(text) && n < excerptText; n++ {
		_, size := utf8.DecodeRuneInString(text[end:])
		end += size
	}
	out := strings.Join(strings.Fields(text[begin:end]), " ")
	if begin > 0 {
		out = "…" + out
	}
	if end < len(text) {
		out += "…"
	}
	return out
}

// senderOf returns who has written a message.
func senderOf(m store.Message) identity.PublicKey {
	switch {
	case m.ID.Dir == store.Out:
		return m.Account
	case m.Conversation.Kind() == store.KindGroup:
		return m.Author
	default:
		return m.Conversation.Contact()
	}
}

// textOf returns what can be found of a message: its text, or name and caption of its
// file. It returns false for what has none, such as a reaction.
func textOf(m store.Message) (string, bool) {
	if m.Deleted || m.Unreadable {
		return "", false
	}
	if text, ok := eventlog.Text(m); ok {
		return text, true
	}
	if !eventlog.HasFile(m) {
		return "", false
	}
	a, err := peer.ParseAttachment(m.Payload)
	if err != nil {
		return "", true // it can be found by its conditions
	}
	return strings.TrimSpace(a.Text + "\n" + a.FileName()), true
}
