// SPDX-License-Identifier: MPL-2.0

package group

import (
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/mediatorlink"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/peer"
)

const (
	// checkPause is how long the members are not asked for again.
	checkPause = 5 * time.Second
	// maxProfiling bounds the pushed profiles that the store has not written; beyond it
	// all are asked for later.
	maxProfiling = 16
	// askTime is how long an answer takes, with the time that the question waits in the
	// link, which ends a connection on which nothing is answered.
	askTime = 10 * time.Minute
	// pageSize is how many messages are asked for at once; a page that is too large for
	// the link is asked for again in smaller ones.
	pageSize = 100
	// chunkMessages and chunkBytes bound the messages that the store writes together.
	chunkMessages = 64
	chunkBytes    = 256 << 10
	// maxUnstored and maxUnstoredBytes bound the pushed messages that the store has not
	// written: beyond it they are fetched later.
	maxUnstored      = 64
	maxUnstoredBytes = 1 << 20
	// pollTime is how often a member who may only read asks for messages: such a member
	// gets no pushes.
	pollTime = time.Minute
	// refusedRetry is the pause after the store has refused a write.
	refusedRetry = 15 * time.Second
	// retryMin and retryMax bound the pauses after the mediator has failed to answer.
	retryMin = 2 * time.Second
	retryMax = 5 * time.Minute
	// maxTries is how often something is asked that the mediator refuses for a reason of
	// its own, such as its database.
	maxTries = 6
	// goneAfter is how long a mediator cannot be reached until it counts as gone.
	goneAfter = 14 * 24 * time.Hour
	// reachedEvery is how exact the store knows when a mediator was reached.
	reachedEvery = 24 * time.Hour
	// goneCheck is how often an unreachable mediator is looked at.
	goneCheck = time.Hour
)

// chat is one group of an account. It sends one request to the mediator at a time; pick
// chooses the next when the answer has arrived. Its tasks are in the store, so a restart
// loses nothing.
type chat struct {
	// Fixed at creation.
	deps    *Deps
	key     identity.PrivateKey
	account identity.PublicKey
	id      store.ConversationID

	record store.Group
	known  bool      // there is a record
	secret group.Key // of the record; zero when there is none

	link  kernel.Ref // zero while there is no connection
	turns *turns     // of the link
	// question is the question under way.
	question step
	tries    int // of the same question, refused or not answered
	retry    kernel.Timer
	poll     kernel.Timer
	// retryPending says that retry runs: nothing is asked before.
	retryPending bool

	// Of this connection.
	subscribed bool
	polling    bool // may only read, and has asked for messages
	// membersDue and profilesDue ask for the list of members and their profiles.
	membersDue, profilesDue bool
	// checkDue says that our own permissions may have changed: the list of members decides.
	// inDoubt says that the mediator has refused us as a member: nothing else is asked
	// before that.
	checkDue, inDoubt bool

	// The history.

	// position is the number of the last message given to the store, without gaps.
	position   int64
	historyDue bool  // there are or may be messages after position
	last       int64 // the highest number that the mediator has spoken of
	limit      uint32
	// accepting and acceptingBytes count what was given to the store and is not written;
	// resync says that the store has refused a part, so that position is not true.
	accepting, acceptingBytes int
	resync                    bool
	idleFetches               int  // in a row, that brought nothing
	mayFetch                  bool // false in the pause after those
	membersMoved              bool // the history has changed members

	// Our messages.

	undelivered uint64 // a position in the outbox below which everything is delivered
	sent        int64  // the guid of the message under way, 0 for none
	served      bool   // a message was sent since the last page of history
	patience    kernel.Timer
	// delivered has what the mediator took and the store has not noted.
	delivered map[int64]store.MarkGroupDelivered
	givingUp  int // messages and tasks that the store has not given up yet

	// profileDue says that the members may not have our profile, profileWanted that the
	// mediator has asked for it. telling is the time of the profile under way.
	profileDue, profileWanted bool
	telling                   store.Millis
	task                      store.GroupTask // under way
	// ending says that the mediator has ended our membership as we asked for, and the store
	// does not have it yet. The mediator is asked nothing until then.
	ending bool
	// profiling counts the writes of profiles that the store has not answered.
	profiling int
	// mayCheck is false for a while after the members were asked for.
	mayCheck bool
	// stating counts the changes of the state that the store has not answered: until then
	// the record here is ahead of the store.
	stating int

	creation creation

	large tooLarge

	// returning asks again whether we are a member; returns counts the refusals,
	// and hastened says that it comes after hastenedReturn.
	returning kernel.Timer
	returns   int
	hastened  bool

	// written has what to do with the answers of the store.
	written map[uint64]func(c *kernel.Context, msg store.Written)
	token   uint64
}

// step is a question to the mediator.
type step uint8

const (
	askNothing step = iota
	askSubscribe
	askHistory
	askSend
	askMembers
	askProfiles
	askOwnProfile
	askTask
	askInvite
	askCreation
)

// Messages of the actor to itself.
type (
	retryDue     struct{}
	pollDue      struct{}
	fetchDue     struct{}
	checkAllowed struct{}
	patienceOver struct{}
	goneDue      struct{}
	returnDue    struct{}
	// deliveredDue tells the store once more that a message was delivered.
	deliveredDue struct{ GUID int64 }
)

func newGroupSpec(d *Deps, account identity.PublicKey, key identity.PrivateKey, id store.ConversationID) kernel.Spec {
	return kernel.Spec{Name: id.String(), Kind: "group", New: func() kernel.Actor {
		return &chat{
			deps: d, account: account, key: key, id: id, limit: pageSize, mayFetch: true, mayCheck: true,
			delivered: make(map[int64]store.MarkGroupDelivered), written: make(map[uint64]func(*kernel.Context, store.Written)),
		}
	}}
}

func (x *chat) conversation() store.Conversation {
	return store.Conversation{Account: x.account, ID: x.id}
}

func (x *chat) Started(c *kernel.Context) error {
	if err := errors.Join(x.read(), x.readPosition()); err != nil {
		return err
	}
	x.profileDue = true
	x.show()
	c.Tell(c.Parent(), hello{x.id})
	c.Every(goneCheck, goneDue{})
	x.next(c)
	return nil
}

func (x *chat) Receive(c *kernel.Context, msg any) {
	switch msg := msg.(type) {
	case linkUp:
		x.onLinkUp(c, msg)
	case linkDown:
		x.onLinkDown()
	case mediatorlink.Pushed:
		x.onPushed(c, msg)
	case missed:
		x.historyDue, x.profilesDue, x.membersDue = true, true, true
		x.next(c)
	case mediator.Answer:
		x.onAnswer(c, msg)
	case kernel.Unanswered:
		x.onUnanswered(c, msg.Err)
	case turnCame:
		x.onTurnCame(c, msg)
	case store.Written:
		x.onWritten(c, msg)
	case Look:
		x.onLook(c)
	case ProfileChanged:
		x.profileDue = true
		x.next(c)
	case retryDue:
		x.retryPending = false
		x.next(c)
	case pollDue:
		x.subscribed, x.polling, x.historyDue = false, false, true
		x.next(c)
	case fetchDue:
		x.mayFetch = true
		x.next(c)
	case checkAllowed:
		x.mayCheck = true
		x.next(c)
	case patienceOver:
		x.next(c)
	case deliveredDue:
		x.noteDelivered(c, msg.GUID)
	case goneDue:
		x.checkGone(c)
	case returnDue:
		x.onReturnDue(c)
	case workDone:
		x.onWorkDone(c, msg)
	case bye:
		c.StopSelf(nil)
	case kernel.TaskDone:
		if msg.Err != nil {
			c.Fail(fmt.Errorf("%s: %w", msg.Name, msg.Err))
		}
	}
}

func (x *chat) Stopping(c *kernel.Context) {
	if x.turns != nil {
		x.turns.remove(c.Self())
	}
	x.deps.Table.forget(x.conversation())
}

// read reads the group from the store.
func (x *chat) read() error {
	record, err := x.deps.Store.Group(x.account, x.id)
	if errors.Is(err, store.ErrNotFound) {
		x.record, x.known, x.secret = store.Group{}, false, group.Key{}
		return nil
	}
	if err != nil {
		return fmt.Errorf("read group: %w", err)
	}
	x.record, x.known, x.secret = record, true, group.Key{}
	if !record.Key.IsZero() {
		x.secret = group.KeyOf(record.Key)
	}
	return nil
}

func (x *chat) readPosition() (err error) {
	x.position, _, err = x.deps.Store.GroupPosition(x.account, x.id)
	return err
}

// onLook reads the group again and continues.
func (x *chat) onLook(c *kernel.Context) {
	if x.stating > 0 {
		return // looks again when the store has answered
	}
	before := x.record.State
	added := x.record.Added
	if err := x.read(); err != nil {
		c.Fail(err)
	}
	if added != x.record.Added { // removed, and there again
		x.undelivered = 0
		if err := x.readPosition(); err != nil {
			c.Fail(err)
		}
	}
	if !before.IsActive() && x.record.State.IsActive() {
		x.subscribed, x.historyDue, x.membersDue, x.profilesDue, x.profileWanted = false, true, true, true, true
	}
	x.next(c)
}

func (x *chat) onLinkUp(c *kernel.Context, msg linkUp) {
	if x.link == msg.link && x.turns == msg.turns && x.question != askNothing {
		return // hello was answered twice
	}
	x.link, x.turns = msg.link, msg.turns
	x.retry.Stop()
	x.retryPending, x.tries = false, 0
	x.subscribed, x.polling, x.historyDue, x.inDoubt = false, false, true, false
	x.large.expire(x.deps.Now())
	x.membersDue, x.profilesDue = true, true
	x.limit, x.idleFetches, x.mayFetch = pageSize, 0, true
	x.returning.Stop()
	x.returns, x.hastened = 0, false
	x.next(c)
}

func (x *chat) onLinkDown() {
	x.link = kernel.Ref{}
	x.subscribed = false
	x.deps.Table.setAllPresent(x.conversation(), nil)
	x.show()
}

// show tells the table how far the group is.
func (x *chat) show() {
	p := Progress{Position: x.position, Last: max(x.last, x.position), Incomplete: x.large.text()}
	switch {
	case x.known && x.record.State == store.GroupCreating:
		return // see creation
	case x.known && !x.record.State.IsActive() && x.record.State != store.GroupJoining:
		p.Stage = StageOutside
	case x.link.IsZero():
		p.Stage = StageOffline
	case x.record.State == store.GroupJoining:
		p.Stage = StageAnswer
	case !x.subscribed && !x.polling:
		p.Stage = StageAnswer
	case x.historyDue:
		p.Stage = StageHistory
	case x.polling:
		p.Stage = StagePolling
	default:
		p.Stage = StageLive
	}
	x.deps.Table.setProgress(x.conversation(), p)
}

// next sends the next request to the mediator, and ends our turn when there is nothing to
// use it for.
func (x *chat) next(c *kernel.Context) {
	defer func() {
		if x.question == askNothing && x.accepting == 0 {
			x.leaveTurn(c)
		}
		x.show()
	}()
	if x.dismissed(c) {
		return
	}
	if x.question != askNothing || x.retryPending || x.ending || x.link.IsZero() {
		return
	}
	switch x.record.State {
	case store.GroupCreating:
		x.create(c)
	case store.GroupJoining:
		x.ask(c, askInvite, &mediator.InviteResponse{Invite: mediator.InviteID(x.record.Invite), Accept: true})
	case store.GroupDeclined:
		if x.record.Invite != 0 {
			x.ask(c, askInvite, &mediator.InviteResponse{Invite: mediator.InviteID(x.record.Invite)})
		}
	default:
		x.pick(c)
	}
}

// dismissed reports whether the group needs no actor any more. It fails the messages and
// tasks that can never be carried out first, and tells the parent.
func (x *chat) dismissed(c *kernel.Context) bool {
	if !x.known {
		c.Tell(c.Parent(), idle{x.id})
		return true
	}
	switch x.record.State {
	case store.GroupLeft, store.GroupDeleted, store.GroupFailed:
		x.giveUpAll(c, outsideReason(x.record.State))
	case store.GroupBanned, store.GroupLost:
		x.giveUpAll(c, outsideReason(x.record.State))
		return false
	}
	needed, err := x.deps.needed(x.record)
	if err != nil {
		c.Fail(err)
	}
	if !needed {
		c.Tell(c.Parent(), idle{x.id})
	}
	return !needed
}

// pick sends the request that comes first: members and our role, subscription, history and
// messages of the outbox in turn, tasks, our profile, the profiles of the others.
func (x *chat) pick(c *kernel.Context) {
	switch {
	case x.checkDue, !x.large.members && x.membersDue && (!x.historyDue || x.position == 0 && x.subscribed):
		if x.mayCheck && x.turn(c) {
			x.ask(c, askMembers, &mediator.GetMembers{Chat: x.chat()})
			return
		}
	}
	if x.inDoubt {
		return // continues with checkAllowed, or with our turn
	}
	switch {
	case !x.subscribed && !x.polling:
		x.ask(c, askSubscribe, &mediator.Subscribe{Chat: x.chat()})
	case !x.served && x.send(c):
	case x.historyDue && x.accepting == 0 && !x.resync && x.mayFetch && x.turn(c):
		x.served = false
		x.ask(c, askHistory, &mediator.GetMessagesSince{Chat: x.chat(), Since: mediator.MessageID(x.position), Limit: x.limit})
	case x.send(c):
	case x.startTask(c):
	case (x.profileDue || x.profileWanted) && x.tellProfile(c):
	case x.profilesDue && !x.large.profilesGivenUp() && !x.historyDue && x.profiling == 0 && (x.subscribed || x.record.State == store.GroupReadOnly) && x.turn(c):
		x.ask(c, askProfiles, &mediator.GetMembersInfo{Chat: x.chat(), Since: x.large.profilesSince(x.deps.Now())})
	}
}

func (x *chat) chat() mediator.ChatID { return mediator.ChatID(x.record.Chat) } //nolint:gosec // it came as one

// turn takes a turn for a large answer and reports whether we have it; else turnCame
// follows.
func (x *chat) turn(c *kernel.Context) bool { return x.turns.take(c.Self()) }

// leaveTurn ends our turn, not our waiting for one.
func (x *chat) leaveTurn(c *kernel.Context) {
	if x.turns != nil {
		x.turns.leave(c.Self())
	}
}

func (x *chat) onTurnCame(c *kernel.Context, msg turnCame) {
	if msg.turns != x.turns {
		msg.turns.leave(c.Self()) // of a link that has ended
		return
	}
	x.next(c)
}

// ask puts a question to the mediator.
func (x *chat) ask(c *kernel.Context, s step, q mediator.Request) {
	x.question = s
	c.Ask(x.link, mediatorlink.Request{Request: q}, askTime)
}

func (x *chat) retryAfter(c *kernel.Context, d time.Duration) {
	x.retry.Stop()
	x.retryPending = true
	x.retry = c.After(d, retryDue{})
}

// backOff waits before the question is asked again.
func (x *chat) backOff(c *kernel.Context) {
	x.retryAfter(c, kernel.Backoff{Min: retryMin, Max: retryMax}.Delay(x.tries))
	x.tries++
}

// onUnanswered: the connection ended, or the mediator did not answer. The question is
// asked again over the next connection; all can be repeated.
func (x *chat) onUnanswered(c *kernel.Context, err error) {
	asked := x.question
	x.question = askNothing
	x.leaveTurn(c)
	switch {
	case asked == askNothing:
		return
	case errors.Is(err, mediatorlink.ErrTooLarge):
		x.onTooLarge(c, asked)
	case asked == askSend:
		x.sent = 0
	case asked == askTask:
		x.task = store.GroupTask{}
	case asked == askCreation:
		x.creation.lost()
	}
	x.backOff(c)
	x.show()
}

// onAnswer gets the answer to the question under way.
func (x *chat) onAnswer(c *kernel.Context, a mediator.Answer) {
	asked := x.question
	x.question = askNothing
	refused := new(mediator.ServerError)
	if err := a.Err(); err != nil && !errors.As(err, &refused) {
		c.Fail(err)
	} else if err == nil {
		refused = nil
	}
	switch asked {
	case askNothing: // of an incarnation before
	case askSubscribe:
		x.onSubscribed(c, a, refused)
	case askHistory:
		x.onHistory(c, a, refused)
	case askSend:
		x.onSent(c, a, refused)
	case askMembers:
		x.onMembers(c, a, refused)
	case askProfiles:
		x.onProfiles(c, a, refused)
	case askOwnProfile:
		x.onProfileTold(c, refused)
	case askTask:
		x.onTaskAnswered(c, a, refused)
	case askInvite:
		x.onInviteAnswered(c, refused)
	case askCreation:
		x.onCreationAnswered(c, a, refused)
	}
	x.next(c)
}

// malformed counts an answer that cannot be read as none.
func (x *chat) malformed(c *kernel.Context, err error) {
	x.deps.Log.Warn("malformed answer from mediator", "account", x.account.Short(), "server", x.record.Mediator.Short(), "err", err)
	x.leaveTurn(c)
	x.backOff(c)
}

// refusedAsMember handles a refusal that may mean that we are not a member, or may only
// read; false for another one.
func (x *chat) refusedAsMember(refused *mediator.ServerError) bool {
	if !refused.NotMember() && !refused.ReadOnly() {
		return false
	}
	x.checkDue, x.inDoubt, x.subscribed = true, true, false
	return true
}

func (x *chat) onSubscribed(c *kernel.Context, a mediator.Answer, refused *mediator.ServerError) {
	switch {
	case refused == nil:
	case refused.ReadOnly():
		x.polling, x.historyDue, x.tries = true, true, 0
		x.setState(c, store.GroupReadOnly, x.record.Permissions|store.Permissions(mediator.PermissionReadOnly), "")
		x.poll.Stop()
		x.poll = c.After(kernel.Jitter(pollTime), pollDue{})
		return
	case refused.NotMember():
		if !x.record.State.IsActive() { // as it was known
			x.polling, x.historyDue, x.checkDue, x.membersDue, x.profilesDue = true, false, false, false, false
			x.awaitReturn(c)
			return
		}
		x.checkDue, x.inDoubt, x.polling, x.historyDue = true, true, true, false
		return
	default:
		x.backOff(c)
		return
	}
	var last mediator.LastMessage
	if err := a.Parse(&last); err != nil {
		x.malformed(c, err)
		return
	}
	x.subscribed, x.polling, x.historyDue, x.tries = true, false, true, 0
	x.returning.Stop()
	x.returns, x.hastened = 0, false
	x.last = int64(last.Message)
	x.undelivered = 0
	x.reached(c)
	if x.record.State != store.GroupMember {
		x.membersDue, x.checkDue = true, true
		x.setState(c, store.GroupMember, x.record.Permissions&^store.Permissions(mediator.PermissionReadOnly|mediator.PermissionBanned), "")
	}
}

// setState changes the state of the group in the store, and here at once.
func (x *chat) setState(c *kernel.Context, state store.GroupState, permissions store.Permissions, reason string) {
	if x.record.State == state && x.record.Permissions == permissions && x.record.Reason == reason {
		return
	}
	x.record.State, x.record.Permissions, x.record.Reason = state, permissions, reason
	x.stating++
	x.write(c, store.SetGroupState{Account: x.account, Group: x.id, State: state, Permissions: permissions, Reason: reason}, func(c *kernel.Context, msg store.Written) {
		x.stating--
		if msg.Err != nil {
			x.storeRefused(c, msg.Err)
			x.subscribed, x.polling = false, false // and found out again
		}
		x.onLook(c)
	})
}

// reached notes when the mediator was reached, once for a while.
func (x *chat) reached(c *kernel.Context) {
	_, at, err := x.deps.Store.GroupPosition(x.account, x.id)
	if err != nil {
		c.Fail(err)
	}
	if since := x.deps.Now().Sub(at.Time()); since < 0 || since >= reachedEvery {
		x.write(c, store.NoteMediatorReached{Account: x.account, Group: x.id}, nil)
	}
}

// checkGone shows that the mediator has not been reached for a long time, although there
// is a network.
func (x *chat) checkGone(c *kernel.Context) {
	if !x.link.IsZero() || !x.deps.Network.Up() || x.record.State != store.GroupMember && x.record.State != store.GroupReadOnly {
		return
	}
	_, at, err := x.deps.Store.GroupPosition(x.account, x.id)
	if err != nil {
		c.Fail(err)
	}
	if at == 0 {
		at = x.record.Added
	}
	if x.deps.Now().Sub(at.Time()) >= goneAfter {
		x.setState(c, store.GroupMediatorGone, x.record.Permissions, "The group's mediator has not answered for two weeks. Messages wait until it does.")
	}
}

// write has the store carry out an operation. done, which may be nil, gets the answer.
func (x *chat) write(c *kernel.Context, op store.Op, done func(c *kernel.Context, msg store.Written)) {
	x.token++
	if done != nil {
		x.written[x.token] = done
	}
	c.Tell(x.deps.Writer, store.Write{Token: x.token, Op: op})
}

func (x *chat) onWritten(c *kernel.Context, msg store.Written) {
	done := x.written[msg.Token]
	delete(x.written, msg.Token)
	if msg.Err != nil && done == nil && !errors.Is(msg.Err, store.ErrNotFound) {
		x.storeRefused(c, msg.Err)
	}
	if done != nil {
		done(c, msg)
	}
	x.next(c)
}

// storeRefused waits after the store has refused a write.
func (x *chat) storeRefused(c *kernel.Context, err error) {
	if errors.Is(err, store.ErrNotFound) {
		return // removed; Look follows
	}
	x.deps.Log.Warn("store refused a write", "account", x.account.Short(), "contact", x.id.Short(), "err", err)
	x.retryAfter(c, refusedRetry)
}

// send sends the next message of the outbox and reports whether there was one.
func (x *chat) send(c *kernel.Context) bool {
	if !x.subscribed || x.record.State != store.GroupMember || x.secret.IsZero() || len(x.delivered) > 0 || x.sent != 0 {
		return false
	}
	m, ok := x.nextToSend(c)
	if !ok {
		return false
	}
	crashpoint.At(crashpoint.BeforeSend)
	text := group.AppendMessage(nil, peer.Message{
		GUID: peer.GUID(m.ID.GUID), ReplyTo: peer.GUID(m.ReplyTo), SendTime: int64(m.SendTime), Type: peer.MessageType(m.Type), Payload: m.Payload,
	})
	sealed, err := x.secret.Seal(rand.Reader, text)
	if err != nil {
		c.Fail(err)
	}
	// The same guid and the same seconds at each attempt: then a mediator that has the
	// message says so, and does not store it twice.
	seconds := int64(m.SendTime) / 1000
	x.sent, x.served = m.ID.GUID, true
	x.ask(c, askSend, &mediator.SendMessage{Chat: x.chat(), GUID: peer.GUID(m.ID.GUID), Time: &seconds, Blob: sealed})
	return true
}

// nextToSend returns the first message that may be sent now. Messages wait behind a file
// that is being uploaded, but only for Deps.Patience.
func (x *chat) nextToSend(c *kernel.Context) (store.Message, bool) {
	x.patience.Stop()
	first := true
	for m, err := range x.deps.Store.UndeliveredFrom(x.account, x.id, x.undelivered) {
		if err != nil {
			c.Fail(fmt.Errorf("read outbox: %w", err))
		}
		if first {
			x.undelivered, first = m.Order, false
		}
		if !m.Held {
			return m, true
		}
		left := x.deps.Patience - x.deps.Now().Sub(m.Created.Time())
		// More than all of it is left when the clock was set back: then nobody waits.
		if left > 0 && left <= x.deps.Patience {
			x.patience = c.After(left, patienceOver{})
			break
		}
	}
	return store.Message{}, false
}

func (x *chat) onSent(c *kernel.Context, a mediator.Answer, refused *mediator.ServerError) {
	guid := x.sent
	x.sent = 0
	if refused != nil {
		x.sendRefused(c, guid, refused)
		return
	}
	var sent mediator.Sent
	if err := a.Parse(&sent); err != nil || sent.Message <= 0 {
		x.malformed(c, err)
		return
	}
	crashpoint.At(crashpoint.BeforeDelivered)
	x.tries = 0
	number := int64(sent.Message)
	switch {
	case number == x.position+1 && x.accepting == 0 && !x.resync:
		x.position = number // as the store does
	case number > x.position:
		x.historyDue = true // somebody has said something before
	}
	x.last = max(x.last, number)
	x.delivered[guid] = store.MarkGroupDelivered{
		Account: x.account, Group: x.id, GUID: guid, ServerGUID: int64(sent.GUID), Number: number, Time: x.deps.nowMillis(),
	}
	x.noteDelivered(c, guid)
}

// noteDelivered tells the store that a message was delivered, until it has noted it: it is
// not sent again.
func (x *chat) noteDelivered(c *kernel.Context, guid int64) {
	op, ok := x.delivered[guid]
	if !ok {
		return
	}
	x.write(c, op, func(c *kernel.Context, msg store.Written) {
		if msg.Err != nil && !errors.Is(msg.Err, store.ErrNotFound) {
			x.deps.Log.Warn("store refused a write", "account", x.account.Short(), "contact", x.id.Short(), "err", msg.Err)
			c.After(refusedRetry, deliveredDue{guid})
			return
		}
		delete(x.delivered, guid)
	})
}

// sendRefused: the mediator does not take a message. It is given up when that will not
// change.
func (x *chat) sendRefused(c *kernel.Context, guid int64, refused *mediator.ServerError) {
	var reason string
	switch {
	case refused.ReadOnly():
		x.refusedAsMember(refused)
		reason = "You may only read in this group."
	case x.refusedAsMember(refused):
		return // what the list of members says decides
	case x.tries < maxTries:
		x.backOff(c)
		return
	default:
		reason = "The mediator did not accept the message: " + refused.Text
	}
	x.tries = 0
	x.giveUp(c, guid, reason)
}

// giveUp gives a message up.
func (x *chat) giveUp(c *kernel.Context, guid int64, reason string) {
	x.write(c, store.FailMessage{Account: x.account, Conversation: x.id, GUID: guid, Time: x.deps.nowMillis(), Reason: reason}, nil)
}

// giveUpAll gives up what waits for the mediator of a group that we are not in, a page at
// a time.
func (x *chat) giveUpAll(c *kernel.Context, reason string) {
	if x.givingUp > 0 {
		return // continues when the store has answered
	}
	messages, err := x.deps.Store.Outbox(x.account, x.id, 0, pageSize)
	if err != nil {
		c.Fail(fmt.Errorf("read outbox: %w", err))
	}
	tasks, err := x.deps.Store.GroupTasks(x.account, x.id, pageSize)
	if err != nil {
		c.Fail(err)
	}
	done := func(c *kernel.Context, msg store.Written) {
		if x.givingUp--; msg.Err != nil {
			x.storeRefused(c, msg.Err)
		}
	}
	x.givingUp = len(messages) + len(tasks)
	for _, m := range messages {
		x.write(c, store.FailMessage{Account: x.account, Conversation: x.id, GUID: m.ID.GUID, Time: x.deps.nowMillis(), Reason: reason}, done)
	}
	for _, task := range tasks {
		x.write(c, store.FinishGroupTask{Account: x.account, Group: x.id, Seq: task.Seq, Failed: true, Reason: reason}, done)
	}
}

// outsideReason says why nothing can be done in a group.
func outsideReason(state store.GroupState) string {
	switch state {
	case store.GroupBanned:
		return "You are banned from this group."
	case store.GroupLeft:
		return "You have left this group."
	case store.GroupDeleted:
		return "The group was deleted."
	}
	return "You are not a member of this group."
}
