// SPDX-License-Identifier: MPL-2.0

package search

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// DirName is the directory of the index below that of the node.
	DirName  = "search"
	fileName = "index.db"
	// page is how many events are read and dealt with at once, pageText how many bytes of
	// words they may have.
	page     = 1000
	pageText = 1 << 20
	// searchTime is how long a search may take, maxSearches how many there are at once.
	searchTime  = 10 * time.Second
	maxSearches = 2
	// maxExamined is how many messages are read from the store for one page of results.
	maxExamined = 1000
	// mergeTime is how long events are waited for that are written together.
	mergeTime = 200 * time.Millisecond
	// rebuildPause is how long after a rebuild damage is a failure of the actor, with its
	// back-off and alarm, and not a reason for the next rebuild.
	rebuildPause = 10 * time.Minute
	// lowPause is how long nothing is written when the disk is almost full.
	lowPause = 30 * time.Second
)

// ErrNotReady is returned while the index is opened or removed, and without a running
// node.
var ErrNotReady = errors.New("the search index is not open")

// Node is what the index is made from; *node.Node is one. Its methods may be called from
// any goroutine.
type Node interface {
	Accounts() ([]store.Account, error)
	Contact(account, contact identity.PublicKey) (store.Contact, error)
	Contacts(account identity.PublicKey) ([]store.Contact, error)
	Group(account identity.PublicKey, group store.ConversationID) (store.Group, error)
	Groups(account identity.PublicKey) ([]store.Group, error)
	Events(account identity.PublicKey, after uint64, limit int) ([]store.Event, error)
	LastEvent(account identity.PublicKey) (uint64, error)
	ConversationMessage(account identity.PublicKey, conversation store.ConversationID, id store.MessageID) (store.Message, error)
	ConversationMessages(account identity.PublicKey, conversation store.ConversationID, before uint64, limit int) ([]store.Message, error)
	WatchEvents() *store.Watch
	DiskLow() bool
}

// Service answers searches, and has the actor that keeps the index. Its methods are for
// goroutines outside actors, and safe for concurrent use.
type Service struct {
	dir string

	// mu guards node and index: searches read them, the actor's goroutine writes.
	mu    sync.RWMutex
	node  Node
	index *index

	// rebuilt is when the index was built again for the last time because of damage. The
	// actor's goroutine has it.
	rebuilt time.Time

	// wake tells the actor's goroutine that rebuild has a reason.
	wake    chan struct{}
	request struct {
		sync.Mutex
		rebuild error
	}
}

// errAsked is the reason of a rebuild that somebody has asked for.
var errAsked = errors.New("asked for")

// New returns the service of the node whose data is in dir. Nothing is read or written
// before its actor runs.
func New(dir string) *Service {
	return &Service{dir: filepath.Join(dir, DirName), wake: make(chan struct{}, 1)}
}

// Rebuild has the index removed and built again, in the background. Until it is complete,
// searches find what is in it so far and say so.
func (s *Service) Rebuild() { s.askRebuild(errAsked) }

func (s *Service) askRebuild(reason error) {
	s.request.Lock()
	s.request.rebuild = reason
	s.wakeAgain()
	s.request.Unlock()
}

func (s *Service) wakeAgain() {
	select {
	case s.wake <- struct{}{}:
	default: // it is awake already
	}
}

// takeRebuild returns the reason of a rebuild that was asked for, nil for none. What woke the
// goroutine for it is over.
func (s *Service) takeRebuild() (reason error) {
	s.request.Lock()
	defer s.request.Unlock()
	select {
	case <-s.wake:
	default:
	}
	reason, s.request.rebuild = s.request.rebuild, nil
	return reason
}

// Search answers a query. It may be called from any goroutine outside actors.
//
// Errors: [ErrQuery], [ErrNotReady], those of the context, and those of the store.
func (s *Service) Search(ctx context.Context, q Query) (Results, error) {
	p, err := parse(q)
	if err != nil {
		return Results{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, searchTime)
	defer cancel()
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.index == nil {
		return Results{}, ErrNotReady
	}
	out, err := s.search(ctx, s.index, &p)
	if isDamaged(err) {
		s.askRebuild(err)
		return Results{}, fmt.Errorf("%w: %w", ErrNotReady, err)
	}
	if err != nil {
		return Results{}, fmt.Errorf("search: %w", err)
	}
	return out, nil
}

func (s *Service) search(ctx context.Context, x *index, p *parsed) (out Results, err error) {
	c, err := cursorOf(ctx, x.read, p.Account)
	if err != nil {
		return out, err
	}
	last, err := s.node.LastEvent(p.Account)
	if err != nil {
		return out, err
	}
	out.Unread = last - min(c.seq, last)
	if c.account == 0 {
		return out, nil
	}
	var conversation, peer int64
	if !p.Conversation.IsZero() {
		if conversation, err = numberOf(ctx, x.read, c.account, p.Conversation); err != nil {
			return out, err
		}
	}
	if !p.Sender.IsZero() {
		if peer, err = numberOf(ctx, x.read, c.account, store.ContactConversation(p.Sender)); err != nil {
			return out, err
		}
	}
	var expanded []string
	for _, t := range p.terms {
		e, err := t.expression(ctx, x)
		if err != nil {
			return out, err
		}
		expanded = append(expanded, e)
	}
	if p.unconditional() && p.before == 0 {
		if out.Names, err = s.names(ctx, x, c.account, p, expanded); err != nil {
			return out, err
		}
	}
	expression := p.expression(expanded, conversation, peer)
	err = s.messages(ctx, x, c.account, p, expression, &out)
	// Ids are exact to some seconds.
	slices.SortStableFunc(out.Messages, func(a, b Hit) int {
		return cmp.Or(cmp.Compare(b.Message.SendTime, a.Message.SendTime), cmp.Compare(b.Message.Order, a.Message.Order))
	})
	return out, err
}

// messages adds a page of messages that match.
func (s *Service) messages(ctx context.Context, x *index, account int64, p *parsed, expression string, out *Results) error {
	first, last := firstID(account, p.from), lastID(account, p.to)
	if p.before != 0 {
		last = min(last, p.before-1)
	}
	for examined := 0; ; {
		some, err := x.search(ctx, expression, first, last, p.Limit+1)
		if err != nil {
			return err
		}
		for _, f := range some {
			if len(out.Messages) == p.Limit || examined == maxExamined {
				out.Next = strconv.FormatInt(last+1, 36)
				return nil
			}
			last = f.id - 1
			examined++
			m, err := s.node.ConversationMessages(p.Account, f.conversation, f.place+1, 1)
			if err != nil {
				return err
			}
			if len(m) == 0 || m[0].Order != f.place {
				continue // removed, and the index has not read that yet
			}
			if excerpt, ok := p.matches(m[0]); ok {
				out.Messages = append(out.Messages, Hit{m[0], excerpt})
			}
		}
		if len(some) <= p.Limit {
			return nil
		}
	}
}

// names returns the contacts and groups whose name has the words.
func (s *Service) names(ctx context.Context, x *index, account int64, p *parsed, terms []string) (names []store.ConversationID, err error) {
	some, err := x.search(ctx, strings.Join(terms, " AND "), account<<accountShift, firstID(account, 0)-1, maxNames)
	if err != nil {
		return nil, err
	}
	for _, f := range some {
		name, there, err := nameOf(s.node, p.Account, f.conversation)
		if err != nil {
			return nil, err
		}
		words := wordsOf(name)
		if there && !slices.ContainsFunc(p.terms, func(t term) bool { _, ok := t.find(words); return !ok }) {
			names = append(names, f.conversation)
		}
	}
	return names, nil
}

// nameOf returns all names by which a contact or group can be found.
func nameOf(node Node, account identity.PublicKey, id store.ConversationID) (name string, there bool, err error) {
	if id.Kind() == store.KindGroup {
		g, err := node.Group(account, id)
		if err != nil {
			return "", false, ignoreMissing(err)
		}
		return g.Name, g.State != store.GroupCreated, nil
	}
	c, err := node.Contact(account, id.Contact())
	if err != nil {
		return "", false, ignoreMissing(err)
	}
	return strings.Join([]string{c.LocalName, c.Nickname}, "\n"), c.State != store.ContactStranger, nil
}

func ignoreMissing(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	return err
}

// NewActor returns the actor that keeps the index of a node; see node.Part.
func (s *Service) NewActor(node Node) kernel.Actor { return &actor{s, node} }

// actor owns the goroutine that writes the index. When that fails, for want of space or
// of permissions, the actor is started again by its supervisor, who raises an alarm.
type actor struct {
	*Service
	node Node
}

// Started implements kernel.Starter.
func (a *actor) Started(c *kernel.Context) error {
	log := c.Log()
	c.Go("index", func(ctx context.Context) error { return a.run(ctx, a.node, log) })
	return nil
}

// Receive implements kernel.Actor.
func (a *actor) Receive(c *kernel.Context, msg any) {
	if done, ok := msg.(kernel.TaskDone); ok {
		c.Fail(fmt.Errorf("search index: %w", done.Err))
	}
}

// run keeps the index until ctx ends.
func (s *Service) run(ctx context.Context, node Node, log *slog.Logger) (err error) {
	w := worker{Service: s, node: node, log: log, watch: node.WatchEvents()}
	defer w.watch.Close()
	defer func() {
		err = errors.Join(err, w.replace(nil))
		if ctx.Err() != nil {
			err = nil
		}
	}()
	if err := w.open(ctx); err != nil {
		return err
	}
	for ctx.Err() == nil {
		err := w.step(ctx)
		if isDamaged(err) && ctx.Err() == nil && time.Since(s.rebuilt) > rebuildPause {
			err = w.rebuild(ctx, err)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// replace puts another index in the place of the one that is open, and closes that.
func (w *worker) replace(x *index) error {
	w.mu.Lock()
	old := w.index
	w.index, w.Service.node = x, w.node
	w.mu.Unlock()
	if old == nil {
		return nil
	}
	return old.close()
}

// worker writes the index.
type worker struct {
	*Service
	node  Node
	log   *slog.Logger
	watch *store.Watch
	// pending are accounts whose log may have more; all says to look for every account.
	pending map[identity.PublicKey]struct{}
	all     bool
	// waiting is how long others get before the next page.
	waiting time.Duration
}

// open opens the index, or builds it again when it is damaged.
func (w *worker) open(ctx context.Context) error {
	x, err := openIndex(ctx, w.dir)
	if err == nil {
		if err = x.check(ctx); err != nil {
			err = errors.Join(err, x.close())
		}
	}
	if isDamaged(err) && ctx.Err() == nil {
		return w.rebuild(ctx, err)
	}
	if err != nil {
		return err
	}
	w.all = true
	return w.replace(x)
}

// rebuild removes the index and opens an empty one.
func (w *worker) rebuild(ctx context.Context, reason error) error {
	if errors.Is(reason, errAsked) {
		w.log.Info("search index is rebuilt on request")
	} else {
		w.log.Warn("search index damaged, rebuilding", "err", reason)
		w.rebuilt = time.Now()
	}
	if err := w.replace(nil); err != nil && !isDamaged(err) {
		w.log.Warn("search index not closed in order", "err", err)
	}
	if err := os.RemoveAll(w.dir); err != nil {
		return fmt.Errorf("remove search index: %w", err)
	}
	x, err := openIndex(ctx, w.dir)
	if err != nil {
		return err
	}
	w.all = true
	return w.replace(x)
}

// step deals with a page of one account's log, or waits until there is one.
func (w *worker) step(ctx context.Context) error {
	if reason := w.takeRebuild(); errors.Is(reason, errAsked) {
		return w.rebuild(ctx, reason)
	} else if reason != nil {
		return reason
	}
	if w.all {
		if err := w.lookAtAll(ctx); err != nil {
			return err
		}
	}
	for account := range w.pending {
		if w.waiting > 0 {
			if !w.pause(ctx, w.waiting) {
				return nil
			}
			w.waiting = 0
		}
		if w.node.DiskLow() {
			w.waiting = lowPause
			return nil
		}
		begun := time.Now()
		more, err := w.readPage(ctx, account)
		if err != nil {
			return err
		}
		if !more {
			delete(w.pending, account)
			return nil
		}
		// Half of a processor at most: a backlog has time.
		w.waiting = time.Since(begun)
		return nil
	}
	select {
	case <-ctx.Done():
	case <-w.wake:
	case <-w.watch.C():
		// What comes at once is written at once.
		if w.pause(ctx, mergeTime) {
			w.note(w.watch.Take())
		}
	}
	return nil
}

// pause waits, and returns false when there is something else to do first.
func (w *worker) pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-w.wake:
		w.wakeAgain()
		return false
	case <-timer.C:
		return true
	}
}

// note remembers whose log has changed.
func (w *worker) note(changes store.Changes) {
	w.all = w.all || changes.All
	for conversation := range changes.Conversations {
		// What happens to an account as a whole may be its removal.
		w.all = w.all || conversation.ID.IsZero()
		w.pending[conversation.Account] = struct{}{}
	}
}

// lookAtAll forgets accounts that are not there any more, and looks at the logs of all
// others.
func (w *worker) lookAtAll(ctx context.Context) error {
	accounts, err := w.node.Accounts()
	if err != nil {
		return err
	}
	there := make(map[identity.PublicKey]struct{}, len(accounts))
	for _, a := range accounts {
		there[a.ID] = struct{}{}
	}
	known, err := w.index.accounts(ctx)
	if err != nil {
		return err
	}
	for _, key := range known {
		if _, ok := there[key]; ok {
			continue
		}
		if err := w.index.removeAccount(ctx, key); err != nil {
			return err
		}
	}
	w.all, w.pending = false, there
	return nil
}

// readPage deals with the next events of an account, and returns whether there are more.
func (w *worker) readPage(ctx context.Context, account identity.PublicKey) (more bool, err error) {
	x := w.index
	c, err := cursorOf(ctx, x.write, account)
	if err != nil {
		return false, err
	}
	if c.seq == 0 {
		return w.readAccount(ctx, account)
	}
	// The event at the cursor is read again: it tells whether this is still the same log,
	// and that nothing behind the cursor was trimmed.
	events, err := w.node.Events(account, c.seq-1, page)
	if err != nil {
		return false, ignoreMissing(err)
	}
	if len(events) == 0 || events[0].Seq != c.seq || string(markOf(events[0])) != string(c.mark) {
		w.log.Info("event log is another one or was trimmed, indexing the account anew", "account", account.Short())
		return w.readAccount(ctx, account)
	}
	b := batch{worker: w, cursor: c, account: account, changes: make(map[document]document)}
	for _, e := range events[1:] {
		if err := b.event(ctx, e); err != nil {
			return false, err
		}
	}
	return len(events) == page, b.flush(ctx)
}

// errInterrupted ends the reading of an account when the index is to be built again.
var errInterrupted = errors.New("interrupted")

// readAccount puts all that an account has into the index, which forgets what it knew of
// it, and returns whether to look at its log again. The log alone does not tell: its oldest
// events may have been trimmed. After a crash it begins anew.
func (w *worker) readAccount(ctx context.Context, account identity.PublicKey) (more bool, err error) {
	if err := w.index.removeAccount(ctx, account); err != nil {
		return false, err
	}
	// The last event is never trimmed, and what follows it is read from the log.
	last, err := w.node.LastEvent(account)
	if err != nil || last == 0 {
		return false, ignoreMissing(err)
	}
	events, err := w.node.Events(account, last-1, 1)
	if err != nil || len(events) == 0 {
		return err == nil, ignoreMissing(err)
	}
	c, err := w.index.addAccount(ctx, account)
	if err != nil {
		return false, err
	}
	ids, err := w.conversations(account)
	if err != nil {
		return false, ignoreMissing(err)
	}
	b := batch{worker: w, cursor: c, account: account, changes: make(map[document]document)}
	for _, id := range ids {
		err := b.conversation(ctx, id)
		if errors.Is(err, errInterrupted) {
			return true, nil
		}
		if err != nil {
			return false, err
		}
	}
	b.cursor.seq, b.cursor.mark = events[0].Seq, markOf(events[0])
	return true, b.flush(ctx)
}

// conversations returns those of an account.
func (w *worker) conversations(account identity.PublicKey) (ids []store.ConversationID, err error) {
	contacts, err := w.node.Contacts(account)
	if err != nil {
		return nil, err
	}
	groups, err := w.node.Groups(account)
	if err != nil {
		return nil, err
	}
	for _, c := range contacts {
		ids = append(ids, store.ContactConversation(c.ID))
	}
	for _, g := range groups {
		ids = append(ids, g.ID)
	}
	return ids, nil
}

// conversation adds all messages of a conversation, and its name. Others get half of the
// time.
func (b *batch) conversation(ctx context.Context, id store.ConversationID) error {
	if err := b.name(ctx, id); err != nil {
		return err
	}
	n, err := b.index.number(ctx, b.cursor.account, store.Conversation{Account: b.account, ID: id})
	if err != nil {
		return err
	}
	for before := uint64(0); before != 1; {
		begun := time.Now()
		messages, err := b.node.ConversationMessages(b.account, id, before, page)
		if err != nil || len(messages) == 0 {
			return ignoreMissing(err)
		}
		for _, m := range messages {
			b.addMessage(n, m)
			before = m.Order
		}
		if len(b.changes) < page && b.size < pageText {
			continue
		}
		if err := b.flush(ctx); err != nil {
			return err
		}
		for waiting := time.Since(begun); waiting > 0; {
			if !b.pause(ctx, waiting) {
				return errInterrupted
			}
			waiting = 0
			if b.node.DiskLow() {
				waiting = lowPause
			}
		}
	}
	return nil
}

// markOf tells an event from one of the same number in another log.
func markOf(e store.Event) []byte {
	text := fmt.Sprintf("%d %d %x %v %d", uint8(e.Kind), e.Time, e.Conversation[:], e.Message, e.Order)
	return strconv.AppendUint(nil, xxhash.Sum64String(text), 36)
}

// batch collects the changes of a page.
type batch struct {
	*worker
	cursor  cursor
	account identity.PublicKey
	// changes are by conversation and place, the rest is zero in the key.
	changes map[document]document
	size    int
}

func (b *batch) event(ctx context.Context, e store.Event) (err error) {
	switch e.Kind {
	case store.MessageReceived, store.MessageQueued, store.MessageSynced, store.MessageEdited, store.MessageDeleted:
		err = b.message(ctx, e)
	case store.ContactAdded, store.ContactChanged, store.GroupAdded, store.GroupChanged, store.InviteReceived:
		err = b.name(ctx, e.Conversation)
	case store.ContactRemoved, store.GroupRemoved:
		err = b.removed(ctx, e.Conversation)
	case store.MessagesExpired:
		err = b.expired(ctx, e)
	}
	if err != nil {
		return err
	}
	b.cursor.seq, b.cursor.mark = e.Seq, markOf(e)
	if b.size >= pageText {
		return b.flush(ctx)
	}
	return nil
}

func (b *batch) flush(ctx context.Context) error {
	keys := slices.SortedFunc(maps.Keys(b.changes), func(x, y document) int {
		if x.conversation != y.conversation {
			return int(x.conversation - y.conversation)
		}
		return int(x.place - y.place)
	})
	changes := make([]document, 0, len(keys))
	for _, key := range keys {
		changes = append(changes, b.changes[key])
	}
	clear(b.changes)
	b.size = 0
	return b.index.put(ctx, b.cursor, changes)
}

func (b *batch) add(d document) {
	key := document{conversation: d.conversation, place: d.place}
	b.size += len(d.words) - len(b.changes[key].words)
	b.changes[key] = d
}

// message adds what a message is now.
func (b *batch) message(ctx context.Context, e store.Event) error {
	m, err := b.node.ConversationMessage(b.account, e.Conversation, e.Message)
	if err != nil {
		return ignoreMissing(err) // the event of its conversation's removal follows
	}
	n, err := b.index.number(ctx, b.cursor.account, store.Conversation{Account: b.account, ID: e.Conversation})
	if err != nil {
		return err
	}
	b.addMessage(n, m)
	return nil
}

func (b *batch) addMessage(conversation int64, m store.Message) {
	d := document{conversation: conversation, place: int64(m.Order), sent: m.SendTime} //nolint:gosec // orders count messages
	if text, ok := textOf(m); ok {
		d.words = wordsOfMessage(m, conversation, text)
	}
	b.add(d)
}

// wordsOfMessage returns what the index has of a message.
func wordsOfMessage(m store.Message, conversation int64, text string) string {
	var b strings.Builder
	b.WriteString(conversationScope(conversation))
	switch {
	case m.ID.Dir == store.Out:
		b.WriteString(" " + ownScope)
	case m.Conversation.Kind() == store.KindGroup:
		b.WriteString(" " + senderScope(m.Author))
	}
	if eventlog.HasFile(m) {
		b.WriteString(" " + fileScope)
	}
	for _, word := range wordsOf(text) {
		b.WriteString(" " + word.folded)
	}
	return b.String()
}

func (b *batch) name(ctx context.Context, id store.ConversationID) error {
	name, there, err := nameOf(b.node, b.account, id)
	if err != nil {
		return err
	}
	n, err := b.index.number(ctx, b.cursor.account, store.Conversation{Account: b.account, ID: id})
	if err != nil {
		return err
	}
	d := document{conversation: n}
	for _, word := range wordsOf(name) {
		if there {
			d.words += " " + word.folded
		}
	}
	b.add(d)
	return nil
}

// expired removes the messages of a conversation up to a place, but for those that are
// still there: few, as a rule.
func (b *batch) expired(ctx context.Context, e store.Event) error {
	if err := b.flush(ctx); err != nil {
		return err
	}
	n, err := b.index.number(ctx, b.cursor.account, store.Conversation{Account: b.account, ID: e.Conversation})
	if err != nil {
		return err
	}
	if err := b.index.removeMessages(ctx, n, int64(e.Order)); err != nil { //nolint:gosec // orders count messages
		return err
	}
	for before := e.Order + 1; before > 1; {
		left, err := b.node.ConversationMessages(b.account, e.Conversation, before, page)
		if err != nil || len(left) == 0 {
			return ignoreMissing(err)
		}
		for _, m := range left {
			b.addMessage(n, m)
			before = m.Order
		}
	}
	return nil
}

func (b *batch) removed(ctx context.Context, id store.ConversationID) error {
	if err := b.flush(ctx); err != nil {
		return err
	}
	n, err := b.index.number(ctx, b.cursor.account, store.Conversation{Account: b.account, ID: id})
	if err != nil {
		return err
	}
	return b.index.removeConversation(ctx, n)
}
