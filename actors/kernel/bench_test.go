// SPDX-License-Identifier: MPL-2.0

package kernel_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/asynkron/protoactor-go/actor"

	"github.com/mimird/mimird/actors/kernel"
)

// The benchmarks compare the kernel with the bare library, in pairs of the same
// name: go test -bench . -benchmem ./actors/kernel

func benchRoot(b *testing.B, f funcs) kernel.Ref {
	b.Helper()
	sys := kernel.NewSystem(kernel.Options{Logger: discard})
	root, err := sys.Spawn(spec("root", f))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := sys.Stop(context.Background()); err != nil {
			b.Error(err)
		}
	})
	return root
}

type number struct{ n int }

func BenchmarkTell(b *testing.B) {
	b.Run("kernel", func(b *testing.B) {
		done := make(chan struct{})
		last := b.N
		ref := benchRoot(b, funcs{receive: func(_ *kernel.Context, msg any) {
			if msg.(*number).n == last {
				close(done)
			}
		}})
		b.ReportAllocs()
		for i := range b.N {
			ref.Tell(&number{i + 1})
		}
		<-done
	})
	b.Run("library", func(b *testing.B) {
		sys := rawSystem()
		done := make(chan struct{})
		last := b.N
		pid := sys.Root.Spawn(raw(func(_ actor.Context, msg any) {
			if m, ok := msg.(*number); ok && m.n == last {
				close(done)
			}
		}))
		b.ReportAllocs()
		for i := range b.N {
			sys.Root.Send(pid, &number{i + 1})
		}
		<-done
	})
}

// One message to and fro between two actors: every message wakes its receiver.
func BenchmarkPingPong(b *testing.B) {
	b.Run("kernel", func(b *testing.B) {
		done := make(chan struct{})
		left := b.N
		var echo kernel.Ref
		root := benchRoot(b, funcs{
			started: func(c *kernel.Context) (err error) {
				echo, err = c.Spawn(spec("echo", funcs{receive: func(c *kernel.Context, msg any) { c.Reply(msg) }}))
				return err
			},
			receive: func(c *kernel.Context, msg any) {
				if left--; left < 0 {
					close(done)
					return
				}
				c.Tell(echo, msg)
			},
		})
		b.ReportAllocs()
		root.Tell(&number{})
		<-done
	})
	b.Run("library", func(b *testing.B) {
		sys := rawSystem()
		done := make(chan struct{})
		left := b.N
		echo := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			if m, ok := msg.(*number); ok {
				c.Request(c.Sender(), m)
			}
		}))
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			if m, ok := msg.(*number); ok {
				if left--; left < 0 {
					close(done)
					return
				}
				c.Request(echo, m)
			}
		}))
		b.ReportAllocs()
		sys.Root.Send(pid, &number{})
		<-done
	})
}

func BenchmarkAsk(b *testing.B) {
	b.Run("kernel", func(b *testing.B) {
		ref := benchRoot(b, funcs{receive: func(c *kernel.Context, msg any) { c.Reply(msg) }})
		ctx, cancel := context.WithTimeout(b.Context(), time.Hour)
		defer cancel()
		question := &number{}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := kernel.Ask[*number](ctx, ref, question); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("library", func(b *testing.B) {
		sys := rawSystem()
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			if m, ok := msg.(*number); ok {
				c.Respond(m)
			}
		}))
		question := &number{}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := sys.Root.RequestFuture(pid, question, time.Hour).Result(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// A child is spawned, stopped and seen gone by its parent, one after the other.
func BenchmarkSpawnStop(b *testing.B) {
	b.Run("kernel", func(b *testing.B) {
		done := make(chan struct{})
		left := b.N
		child := spec("child", funcs{})
		root := benchRoot(b, funcs{receive: func(c *kernel.Context, _ any) {
			if left--; left < 0 {
				close(done)
				return
			}
			ref, err := c.Spawn(child)
			if err != nil {
				b.Error(err)
			}
			c.Stop(ref)
		}})
		b.ReportAllocs()
		root.Tell("go")
		<-done
	})
	b.Run("library", func(b *testing.B) {
		sys := rawSystem()
		done := make(chan struct{})
		left := b.N
		child := raw(func(actor.Context, any) {})
		pid := sys.Root.Spawn(raw(func(c actor.Context, msg any) {
			switch msg.(type) {
			case string, *actor.Terminated:
				if left--; left < 0 {
					close(done)
					return
				}
				c.Stop(c.Spawn(child))
			}
		}))
		b.ReportAllocs()
		sys.Root.Send(pid, "go")
		<-done
	})
}

// A child fails with each message and is restarted; the next message then fails
// it again. The kernel's shortest back-off is one timer.
func BenchmarkRestart(b *testing.B) {
	b.Run("kernel", func(b *testing.B) {
		done := make(chan struct{})
		starts := 0
		sys := kernel.NewSystem(kernel.Options{Logger: discard})
		f := &funcs{
			started: func(*kernel.Context) error {
				if starts++; starts > b.N {
					close(done)
				}
				return nil
			},
			receive: func(c *kernel.Context, _ any) { c.Fail(errTest) },
		}
		ref, err := sys.Spawn(kernel.Spec{
			Name: "root", Kind: "test", New: func() kernel.Actor { return f },
			Backoff: kernel.Backoff{Min: 1, Max: 1, Forever: true},
		})
		if err != nil {
			b.Fatal(err)
		}
		defer func() {
			if err := sys.Stop(context.Background()); err != nil {
				b.Error(err)
			}
		}()
		b.ReportAllocs()
		for range b.N {
			ref.Tell(1)
		}
		<-done
	})
	b.Run("library", func(b *testing.B) {
		sys := rawSystem()
		done := make(chan struct{})
		starts := 0
		var child *actor.PID
		ready := make(chan struct{})
		sys.Root.Spawn(actor.PropsFromFunc(func(c actor.Context) {
			if _, ok := c.Message().(*actor.Started); ok {
				child = c.Spawn(raw(func(_ actor.Context, msg any) {
					switch msg.(type) {
					case *actor.Started:
						if starts++; starts > b.N {
							close(done)
						}
					case int:
						panic(errTest)
					}
				}))
				close(ready)
			}
		}, actor.WithSupervisor(actor.RestartingSupervisorStrategy())))
		<-ready
		b.ReportAllocs()
		for range b.N {
			sys.Root.Send(child, 1)
		}
		<-done
	})
}

// TestIdleActorIsSmall holds the cost of an actor that does nothing: less than
// 1.5 KiB and no goroutine.
func TestIdleActorIsSmall(t *testing.T) {
	const many = 20_000
	sys := kernel.NewSystem(kernel.Options{Logger: discard})
	spawned := make(chan error, 1)
	kind := spec("", funcs{})
	root, err := sys.Spawn(spec("root", funcs{receive: func(c *kernel.Context, _ any) {
		var err error
		for i := range many {
			s := kind
			s.Name = fmt.Sprint("session-", i)
			ref, e := c.Spawn(s)
			if e != nil {
				err = e
			}
			c.Tell(ref, "a first message")
		}
		spawned <- err
	}}))
	if err != nil {
		t.Fatal(err)
	}
	goroutines, before := runtime.NumGoroutine(), heapInUse()
	root.Tell("spawn")
	if err := <-spawned; err != nil {
		t.Fatal(err)
	}
	deadline := time.Now().Add(soon)
	for statsOf(t, sys, "test").Messages < many+1 {
		if time.Now().After(deadline) {
			t.Fatalf("got %+v", sys.Stats())
		}
		runtime.Gosched()
	}
	perActor := (heapInUse() - before) / many
	t.Logf("%d bytes per idle actor", perActor)
	if perActor > 1200 {
		t.Errorf("%d bytes per idle actor", perActor)
	}
	if n := runtime.NumGoroutine() - goroutines; n > 5 {
		t.Errorf("%d goroutines more", n)
	}
	if err := sys.Stop(t.Context()); err != nil {
		t.Error(err)
	}
}

func heapInUse() int64 {
	for range 3 { // what is in a sync.Pool goes with the second collection
		runtime.GC()
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
