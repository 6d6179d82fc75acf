// SPDX-License-Identifier: MPL-2.0

// Package kerneltest helps to test actors: a [Stage] is an actor system that
// lives as long as the test, whose root spawns what the test wants to try; a
// [Probe] is an actor that records what it is told and lets the test expect it.
//
// Everything works in a testing/synctest bubble when the stage is created inside it.
//
// Never call t.Fatal or a require function inside an actor: it ends the actor's
// turn by runtime.Goexit, which the kernel takes for a failure of the actor.
// Record in the actor and assert in the test.
package kerneltest
