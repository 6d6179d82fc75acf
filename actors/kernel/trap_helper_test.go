// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"log/slog"
	"runtime"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/mimird/mimird/test/virtual"
)

// The TestTrap tests record what protoactor-go does where it is dangerous, in the
// subtest "library", beside what the kernel does, in the subtest "kernel". When a
// "library" subtest fails after an upgrade, the library has changed: look whether
// the kernel's answer is still needed, and right.

// rawSystem is the library without the kernel.
func rawSystem() *actor.ActorSystem {
	return actor.NewActorSystem(
		actor.WithLoggerFactory(func(*actor.ActorSystem) *slog.Logger { return slog.New(slog.DiscardHandler) }),
		actor.WithDeadLetterThrottleInterval(time.Microsecond),
	)
}

// raw makes props of a receive function that gets only the message.
func raw(receive func(c actor.Context, msg any)) *actor.Props {
	return actor.PropsFromFunc(func(c actor.Context) { receive(c, c.Message()) })
}

// library runs the half of a trap test that is about the library, in virtual time.
func library(t *testing.T, test func(t *testing.T, sys *actor.ActorSystem)) {
	t.Helper()
	t.Run("library", func(t *testing.T) {
		inLibrary(t, test)
	})
}

func inLibrary(t *testing.T, test func(t *testing.T, sys *actor.ActorSystem)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(t, rawSystem())
		virtual.Sleep(time.Hour) // a dead letter starts a goroutine that waits for its throttle
	})
}

// answers reports whether a raw actor still answers "ping".
func answers(sys *actor.ActorSystem, pid *actor.PID) bool {
	_, err := sys.Root.RequestFuture(pid, "ping", time.Second).Result()
	return err == nil
}

// spinGuard is a dispatcher that ends the goroutine of a mailbox that goes round
// and round without doing anything: the library asks for the throughput each time.
type spinGuard struct{ rounds atomic.Int64 }

const manyRounds = 10_000

func (g *spinGuard) Schedule(run func()) { go run() }

func (g *spinGuard) Throughput() int {
	if g.rounds.Add(1) >= manyRounds {
		runtime.Goexit()
	}
	return 300
}

func (g *spinGuard) spun() bool { return g.rounds.Load() >= manyRounds }
