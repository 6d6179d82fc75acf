// SPDX-License-Identifier: MPL-2.0

package connector

import (
	"context"
	"sync"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/id"
)

// commandWait is how long a command waits for the one before it.
const commandWait = 10 * time.Second

// commandTurns serializes the commands of a user. The library starts each in a goroutine
// of its own, and shows a question of a command before it waits for the answer: a quick
// answer would be an unknown command.
type commandTurns struct {
	next bridgev2.CommandProcessor

	mu    sync.Mutex
	users map[id.UserID]*commandTurn
}

// commandTurn exists while a user has commands under way.
type commandTurn struct {
	free     chan struct{} // holds one value while nobody has the turn
	commands int
}

// SerializeCommands makes the commands of a user run one after the other. It is called
// after NewBridge.
func SerializeCommands(br *bridgev2.Bridge) { br.Commands = newCommandTurns(br.Commands) }

func newCommandTurns(next bridgev2.CommandProcessor) *commandTurns {
	return &commandTurns{next: next, users: make(map[id.UserID]*commandTurn)}
}

// Handle implements [bridgev2.CommandProcessor]. A command that takes longer than
// commandWait does not delay the next, which may be the one that cancels it.
func (t *commandTurns) Handle(
	ctx context.Context, room id.RoomID, event id.EventID, user *bridgev2.User, message string, replyTo id.EventID,
) {
	turn := t.enter(user.MXID)
	defer t.leave(user.MXID)
	patience := time.NewTimer(commandWait)
	defer patience.Stop()
	select {
	case <-turn.free:
		defer func() { turn.free <- struct{}{} }()
	case <-patience.C:
	case <-ctx.Done():
	}
	t.next.Handle(ctx, room, event, user, message, replyTo)
}

func (t *commandTurns) enter(user id.UserID) *commandTurn {
	t.mu.Lock()
	defer t.mu.Unlock()
	turn := t.users[user]
	if turn == nil {
		turn = &commandTurn{free: make(chan struct{}, 1)}
		turn.free <- struct{}{}
		t.users[user] = turn
	}
	turn.commands++
	return turn
}

func (t *commandTurns) leave(user id.UserID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if turn := t.users[user]; turn.commands == 1 {
		delete(t.users, user)
	} else {
		turn.commands--
	}
}
