// SPDX-License-Identifier: MPL-2.0

package botcommands

import (
	"context"
	"sync"
	"time"

	"github.com/rs/zerolog"
	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/bridge/msgconv"
)

const (
	// commandWait is how long a command waits for the one before it.
	commandWait = 10 * time.Second
	// maxCommands bounds the commands of a user that run or wait.
	maxCommands = 16
	// refusalTime bounds the answer to a command beyond that.
	refusalTime = 15 * time.Second
)

const tooManyCommands = "Too many of your commands are running. This one was not run, and neither are those that follow at once: " +
	"say it again when the others are answered."

// commandTurns serializes the commands of a user. The library starts each in a goroutine
// of its own, and shows a question of a command before it waits for the answer: a quick
// answer would be an unknown command.
type commandTurns struct {
	next bridgev2.CommandProcessor
	// answer says something in a room.
	answer func(ctx context.Context, room id.RoomID, text string)

	mu    sync.Mutex
	users map[id.UserID]*commandTurn
}

// commandTurn exists while a user has commands under way.
type commandTurn struct {
	free     chan struct{} // holds one value while nobody has the turn
	commands int
	refused  bool // the user was told that they are too many
}

// Serialize makes the commands of a user run one after the other. It is called
// after NewBridge.
func Serialize(br *bridgev2.Bridge) {
	br.Commands = newCommandTurns(br.Commands, func(ctx context.Context, room id.RoomID, text string) {
		ctx, cancel := context.WithTimeout(ctx, refusalTime)
		defer cancel()
		if _, err := br.Bot.SendMessage(ctx, room, event.EventMessage, &event.Content{Parsed: msgconv.Notice(text)}, nil); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Stringer("room_id", room).Msg("Failed to refuse a command")
		}
	})
}

func newCommandTurns(next bridgev2.CommandProcessor, answer func(context.Context, id.RoomID, string)) *commandTurns {
	return &commandTurns{next: next, answer: answer, users: make(map[id.UserID]*commandTurn)}
}

// Handle implements [bridgev2.CommandProcessor]. A command that takes longer than
// commandWait does not delay the next, which may be the one that cancels it. Of the
// commands beyond maxCommands the first is answered, and none is run.
func (t *commandTurns) Handle(
	ctx context.Context, room id.RoomID, event id.EventID, user *bridgev2.User, message string, replyTo id.EventID,
) {
	turn, tell := t.enter(user.MXID)
	if turn == nil {
		if tell {
			t.answer(ctx, room, tooManyCommands)
		}
		return
	}
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

// enter returns nil when a user has too many commands, and whether they are to be told.
func (t *commandTurns) enter(user id.UserID) (turn *commandTurn, tell bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	turn = t.users[user]
	if turn == nil {
		turn = &commandTurn{free: make(chan struct{}, 1)}
		turn.free <- struct{}{}
		t.users[user] = turn
	}
	if turn.commands >= maxCommands {
		tell, turn.refused = !turn.refused, true
		return nil, tell
	}
	turn.commands, turn.refused = turn.commands+1, false
	return turn, false
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
