// SPDX-License-Identifier: MPL-2.0

package botcommands

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/test/virtual"
)

// slowCommands takes a second for each command, and an hour for "stuck".
type slowCommands struct {
	mu    sync.Mutex
	begun time.Time
	log   []string
}

func (s *slowCommands) Handle(_ context.Context, _ id.RoomID, _ id.EventID, user *bridgev2.User, message string, _ id.EventID) {
	s.note(user.MXID.String() + " " + message)
	if message == "stuck" {
		virtual.Sleep(time.Hour)
	}
	virtual.Sleep(time.Second)
}

func (s *slowCommands) note(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.log = append(s.log, time.Since(s.begun).String()+" "+what)
}

func TestCommandsOfAUserTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowCommands{begun: time.Now()}
		turns := newCommandTurns(slow, nil)
		var all sync.WaitGroup
		give := func(user id.UserID, message string) {
			all.Go(func() {
				turns.Handle(t.Context(), "", "", &bridgev2.User{User: &database.User{MXID: user}}, message, "")
			})
			synctest.Wait()
		}
		give("alice", "login")
		give("alice", "answer")
		give("bob", "login")
		virtual.Sleep(5 * time.Second)
		give("bob", "stuck")
		give("bob", "cancel")
		all.Wait()
		want := []string{"0s alice login", "0s bob login", "1s alice answer", "5s bob stuck", "15s bob cancel"}
		if !slices.Equal(slow.log, want) {
			t.Errorf("got %q, want %q", slow.log, want)
		}
		if len(turns.users) != 0 {
			t.Errorf("%d users are left", len(turns.users))
		}
	})
}

// A user who writes commands faster than they are run is told so, once, and delays nobody
// else.
func TestCommandTurns_TooMany_RefusedWithOneAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := &slowCommands{begun: time.Now()}
		answers := make(map[id.RoomID]int)
		var mu sync.Mutex
		turns := newCommandTurns(slow, func(_ context.Context, room id.RoomID, _ string) {
			mu.Lock()
			defer mu.Unlock()
			answers[room]++
		})
		var all sync.WaitGroup
		give := func(user id.UserID, count int) {
			for range count {
				all.Go(func() {
					turns.Handle(t.Context(), id.RoomID("!"+user), "", &bridgev2.User{User: &database.User{MXID: user}}, "stuck", "")
				})
			}
			synctest.Wait()
		}
		give("alice", 10*maxCommands)
		give("carol", maxCommands+1)
		give("bob", maxCommands)
		mu.Lock()
		if answers["!alice"] != 1 || answers["!carol"] != 1 || answers["!bob"] != 0 {
			t.Errorf("answers are %v", answers)
		}
		mu.Unlock()
		virtual.Sleep(time.Minute)
		ran := make(map[string]int)
		slow.mu.Lock()
		for _, line := range slow.log {
			ran[strings.Fields(line)[1]]++
		}
		slow.mu.Unlock()
		if ran["alice"] != maxCommands || ran["bob"] != maxCommands {
			t.Errorf("%v commands were run, want %d of each", ran, maxCommands)
		}
		virtual.Sleep(2 * time.Hour)
		give("alice", maxCommands+1) // and told again
		mu.Lock()
		if answers["!alice"] != 2 {
			t.Errorf("answers are %v", answers)
		}
		mu.Unlock()
		all.Wait()
		if len(turns.users) != 0 {
			t.Errorf("%d users are left", len(turns.users))
		}
	})
}
