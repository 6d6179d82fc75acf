// SPDX-License-Identifier: MPL-2.0

package chat

import (
	"time"

	"github.com/mimird/mimird/actors/control"
)

const (
	// page is how many messages are asked for at once, maxWindow how many of the open
	// conversation are in memory, maxShown how much of a text is, in bytes.
	page      = 50
	maxWindow = 200
	maxShown  = 8000
	// maxOutbox is how many texts wait here while the node is away.
	maxOutbox = 100
	// maxFound is how many search results are in memory, foundPage how many are asked for.
	maxFound  = 200
	foundPage = 50
)

// Input is what the model reacts to: something that was typed, an answer, or an event.
type Input any

// What comes from the terminal.
type (
	// Key is a key that is not a character, such as "enter", "up" or "ctrl+f".
	Key string
	// Typed is a character that was typed.
	Typed string
	// Pasted is a text that was pasted.
	Pasted string
	// Resized is the size of the terminal, in columns and lines.
	Resized struct{ Width, Height int }
	// Focused says whether the terminal has the focus, where it tells.
	Focused bool
)

// What comes from the node. Answers name what was asked, since another account or
// conversation may be shown when they arrive.
type (
	gotAccounts struct {
		accounts []control.Account
		err      error
	}
	// connected says that the event log is followed from now on; missed, that events were
	// passed over, so that everything has to be asked for again.
	connected struct {
		account string
		missed  bool
	}
	// lost says that the event log is not followed, and when the next attempt is.
	lost struct {
		account string
		err     error
		retry   time.Duration
	}
	happened struct {
		account string
		event   control.Event
	}
	changed struct {
		account string
		change  control.Change
	}
	gotChats struct {
		account string
		chats   []control.Conversation
		err     error
	}
	gotChat struct {
		account, chat string
		conversation  control.Conversation
		marked        bool // the answer to markRead
		err           error
	}
	gotMessages struct {
		epoch    int
		which    control.Range
		messages []control.Message // newest first
		err      error
	}
	gotMessage struct {
		epoch   int
		id      string
		message control.Message
		whole   bool
		err     error
	}
	gotMembers struct {
		epoch   int
		members []control.GroupMember
		err     error
	}
	gotFound struct {
		query control.Search
		found control.Found
		err   error
	}
	sent struct {
		source string
		err    error
	}
	// again follows a later: what had no answer is asked for again.
	again struct{}
	// did is the answer to an act, with what to say when it went well.
	did struct {
		say string
		err error
	}
)

// Effect is something to be done outside of the model.
type Effect any

// The effects.
type (
	// askAccounts lists the accounts, again until there is an answer.
	askAccounts struct{}
	// follow follows the event log of an account, and no other one any more.
	follow   struct{ account string }
	askChats struct{ account string }
	askChat  struct{ account, chat string }
	markRead struct {
		account, chat string
		order         uint64
	}
	askMessages struct {
		account, chat string
		epoch         int
		which         control.Range
	}
	askMessage struct {
		account, chat, id string
		epoch             int
		whole             bool
	}
	askMembers struct {
		account, group string
		epoch          int
	}
	askFound struct {
		account string
		query   control.Search
	}
	// sendNext sends a text or file, given by its path.
	sendNext struct{ what outgoing }
	// act does one thing that a person has asked for.
	act struct {
		kind               actKind
		account, chat      string
		message, text, say string
	}
	// later is answered with an again after a pause.
	later   struct{}
	quit    struct{}
	suspend struct{}
	redraw  struct{}
)

type actKind int

const (
	actReact actKind = iota
	actCancel
	actDelete
	actAccept
	actDecline
	actJoin
	actRefuse
	actFetch
	actSave
)

// outgoing is a text or a file on its way to the node.
type outgoing struct {
	account, chat string
	// source makes it safe to send it again when the answer was lost.
	source      string
	text, reply string
	file        string // path, "" for a text
}

// focus says what keys are for.
type focus int

const (
	onList focus = iota
	onComposer
	onMessages // one of them is selected
)

// Model is the state of the client. Only one goroutine may use it.
type Model struct {
	opts Options

	width, height int
	focus         focus
	away          bool // the terminal does not have the focus

	accounts []control.Account
	account  string // key of the account that is shown, "" before there is one

	online bool
	reason string // why the node is not reached, "" at the start

	chats  []control.Conversation
	cursor int // which one of them is selected
	loaded bool
	// dirty are the conversations that have changed and were not asked for yet; querying
	// says that a question is under way.
	dirty    map[string]bool
	querying bool

	win     window
	drafts  map[draftKey]composer
	outbox  []outgoing
	sending bool
	// unsent says that the first of the outbox had no answer, reload that the list had none,
	// and resting that the pause before the retry is not over.
	unsent, reload, resting bool

	lines []placed // of the state as it is, nil when they were not laid out yet

	over   overlay
	notice string
	wrong  bool // the notice is about a failure
}

type draftKey struct{ account, chat string }

// window is the part of the open conversation that is in memory.
type window struct {
	chat  string // "" when none is open
	epoch int    // tells answers for this one from those for others
	rows  []row  // oldest first
	// first and last are the positions of the first and the last message that was read,
	// also of those that have no row.
	first, last uint64
	// older and newer say that there may be more before and after.
	older, newer bool
	loading      bool
	again        bool   // a message has come while messages were being loaded
	failed       bool   // the last question had no answer; a key asks again
	divider      uint64 // position of the first unread message when it was opened
	selected     string // id of a message
	// bottom and lines say which line is the last one on the screen: so many lines of that
	// row. bottom is "" for the end.
	bottom string
	lines  int
	// marked is how far the conversation was marked as read, telling that the node is being
	// told.
	marked  uint64
	telling bool
	begun   bool // something was loaded
	toTop   bool // the first page goes to the divider, not to the end
}

// row is a message as it is shown, with the lines of it for one width.
type row struct {
	control.Message
	left  int // how many bytes of the text are left out
	width int
	laid  []line
}

// overlay is what is shown over the conversation, kind overNone for nothing.
type overlay struct {
	kind     overlayKind
	title    string
	field    composer // of a prompt
	message  control.Message
	lines    []string // of a text
	scroll   int
	cursor   int
	accounts []control.Account
	found    control.Found
	query    control.Search
	waiting  bool
	members  []control.GroupMember
	yes      []Effect // what is done after the answer y
}

type overlayKind int

const (
	overNone overlayKind = iota
	overHelp
	overText // a whole message
	overAccounts
	overMembers
	overSearch // words are typed
	overFound
	overReact
	overSave
	overConfirm
)

// New returns a model that asks for the accounts first; see [Model.Start].
func New(opts Options) *Model {
	return &Model{opts: opts, dirty: map[string]bool{}, drafts: map[draftKey]composer{}, width: 80, height: 24}
}

// Start returns what is to be done first.
func (m *Model) Start() []Effect { return []Effect{askAccounts{}} }

// chat returns the conversation of an id, nil when there is none.
func (m *Model) chat(id string) *control.Conversation {
	for i := range m.chats {
		if m.chats[i].ID == id {
			return &m.chats[i]
		}
	}
	return nil
}

// open returns the conversation that is shown, nil for none.
func (m *Model) open() *control.Conversation {
	if m.win.chat == "" {
		return nil
	}
	return m.chat(m.win.chat)
}

func (m *Model) accountName() string {
	for _, a := range m.accounts {
		if a.ID == m.account {
			return a.Name
		}
	}
	return ""
}

// pending are the texts of the open conversation that the node does not have yet.
func (m *Model) pending() (out []outgoing) {
	for _, o := range m.outbox {
		if o.account == m.account && o.chat == m.win.chat {
			out = append(out, o)
		}
	}
	return out
}

// draft returns the composer of the open conversation.
func (m *Model) draft() composer { return m.drafts[draftKey{m.account, m.win.chat}] }

func (m *Model) setDraft(c composer) {
	key := draftKey{m.account, m.win.chat}
	if c.text == "" && c.reply == nil {
		delete(m.drafts, key)
		return
	}
	m.drafts[key] = c
}

// say shows a sentence in the last line until the next key.
func (m *Model) say(text string) { m.notice, m.wrong = text, false }

func (m *Model) complain(err error) { m.notice, m.wrong = sentence(err), true }

// find returns the index of a row, -1 for none.
func (w *window) find(id string) int {
	for i := range w.rows {
		if w.rows[i].ID == id {
			return i
		}
	}
	return -1
}

func newRow(m control.Message) row {
	r := row{Message: m}
	r.Payload = nil
	r.Text, r.left = shorten(m.Text, maxShown)
	return r
}
