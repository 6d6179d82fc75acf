// SPDX-License-Identifier: MPL-2.0

package library

import (
	"errors"
	"sync"
	"testing"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
	"maunium.net/go/mautrix/bridgev2/database"
	"maunium.net/go/mautrix/id"
)

// TestRoomLocks_AreThoseOfTheLibrary reads through the library while the rooms change under
// our locks; the race detector judges, and without it that no room is seen but those two.
func TestRoomLocks_AreThoseOfTheLibrary(t *testing.T) {
	t.Parallel()
	rooms := []id.RoomID{"!first:example.org", "!the-second-one:example.org"}
	br := &bridgev2.Bridge{Config: &bridgeconfig.BridgeConfig{PersonalFilteringSpaces: true}}
	for range 2 {
		login := &bridgev2.UserLogin{UserLogin: &database.UserLogin{SpaceRoom: rooms[0]}, Bridge: br}
		user := &bridgev2.User{User: &database.User{ManagementRoom: rooms[0]}, Bridge: br}
		for name, c := range map[string]struct {
			lock *sync.Mutex
			at   *id.RoomID
			read func() (id.RoomID, error)
		}{
			"space":           {spaceLock(login), &login.SpaceRoom, func() (id.RoomID, error) { return login.GetSpaceRoom(t.Context()) }},
			"management room": {managementLock(user), &user.ManagementRoom, func() (id.RoomID, error) { return user.GetManagementRoom(t.Context()) }},
		} {
			var writer sync.WaitGroup
			writer.Go(func() {
				for n := range 1000 {
					c.lock.Lock()
					*c.at = rooms[n%2]
					c.lock.Unlock()
				}
			})
			for range 1000 {
				if room, err := c.read(); err != nil || room != rooms[0] && room != rooms[1] {
					t.Errorf("%s %q, %v", name, room, err)
				}
			}
			writer.Wait()
			if !c.lock.TryLock() {
				t.Errorf("the lock of the %s is held", name)
			}
		}
	}
	defer func() {
		if recover() == nil {
			t.Error("a lock that is not there was found")
		}
	}()
	lockOf[bridgev2.User]("noSuchLock")
}

func TestRoomLocks_Set(t *testing.T) {
	t.Parallel()
	full := errors.New("disk full")
	for name, c := range map[string]struct {
		has, old, room, want id.RoomID
		err                  error
		done                 bool
	}{
		"the first":         {"", "", "!a", "!a", nil, true},
		"gone":              {"!a", "!a", "", "", nil, true},
		"another meanwhile": {"!b", "!a", "", "!b", nil, false},
		"one was created":   {"!b", "", "!a", "!b", nil, false},
		"not saved":         {"!a", "!a", "!b", "!a", full, false},
	} {
		field := c.has
		done, err := set(&field, c.old, c.room, func() error { return c.err })
		if done != c.done || !errors.Is(err, c.err) || field != c.want {
			t.Errorf("%s: %v, %v, room %q", name, done, err, field)
		}
	}
}
