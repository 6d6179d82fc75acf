// SPDX-License-Identifier: MPL-2.0

package library

import (
	"context"
	"fmt"
	"reflect"
	"sync"
	"unsafe"

	"maunium.net/go/mautrix/bridgev2"
	"maunium.net/go/mautrix/id"
)

// The library creates the Matrix space of a login and the management room of a user when
// somebody asks for them, each under a lock that it does not export. It has no way to give
// it a room that exists, or to make it forget one that is gone: who writes those fields
// without the locks has two rooms created, or a name of a room half written.
var (
	spaceLock      = lockOf[bridgev2.UserLogin]("spaceCreateLock")
	managementLock = lockOf[bridgev2.User]("managementCreateLock")
)

// lockOf returns how to reach a lock of a struct. It panics when there is none of that name:
// another version of the library has been built in.
func lockOf[T any](name string) func(*T) *sync.Mutex {
	kind := reflect.TypeFor[T]()
	field, found := kind.FieldByName(name)
	if !found || field.Type != reflect.TypeFor[sync.Mutex]() {
		panic(fmt.Sprintf("library: %v has no lock %s", kind, name))
	}
	return func(of *T) *sync.Mutex {
		return (*sync.Mutex)(unsafe.Add(unsafe.Pointer(of), field.Offset)) //nolint:gosec // the offset of that very field
	}
}

// SetSpace gives a login that has the Matrix space old another; "" is for none. It returns false, and changes nothing, for a login that has another one. It waits for the
// library to have created the one that it is creating.
func SetSpace(ctx context.Context, login *bridgev2.UserLogin, old, room id.RoomID) (bool, error) {
	lock := spaceLock(login)
	lock.Lock()
	defer lock.Unlock()
	return set(&login.SpaceRoom, old, room, func() error { return login.Save(ctx) })
}

// SetManagementRoom is [SetSpace] for the management room of a user.
func SetManagementRoom(ctx context.Context, user *bridgev2.User, old, room id.RoomID) (bool, error) {
	lock := managementLock(user)
	lock.Lock()
	defer lock.Unlock()
	return set(&user.ManagementRoom, old, room, func() error { return user.Save(ctx) })
}

func set(field *id.RoomID, old, room id.RoomID, save func() error) (bool, error) {
	if *field != old {
		return false, nil
	}
	*field = room
	if err := save(); err != nil {
		*field = old
		return false, err
	}
	return true, nil
}
