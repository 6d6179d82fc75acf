// SPDX-License-Identifier: MPL-2.0

package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/kernel"
)

// TestPanicsAtRandom puts this file into the program and has every actor pass
// through panicAtRandom. The variable says how often somebody panics, from which
// seed, and which file is told.
const panicsEnv = "MIMIRD_TEST_PANICS"

// fewOfOne is how often one actor panics at most: the pause before it is started
// again doubles every time. Sessions are not started again: others come, under the
// same names when their contact has panicked.
const fewOfOne = 4

var panics struct {
	sync.Mutex
	left   int
	note   string
	random *rand.Rand
	next   time.Time
	chosen string // the kind that panics next
	of     map[string]int
}

func init() {
	var seed uint64
	if n, _ := fmt.Sscanf(os.Getenv(panicsEnv), "%d %d %s", &panics.left, &seed, &panics.note); n == 3 {
		panics.random, panics.of = rand.New(rand.NewPCG(seed, seed)), make(map[string]int)
		panics.next = time.Now().Add(time.Second)
	}
}

func panicAtRandom(actor kernel.Ref, _ any) {
	panics.Lock()
	defer panics.Unlock()
	if panics.left == 0 || time.Now().Before(panics.next) {
		return
	}
	kinds := []string{"session", "session", "contact", "account", "resolver", "listener", "matrix"}
	if panics.chosen == "" || time.Since(panics.next) > time.Second { // it has nothing to do
		panics.chosen = kinds[panics.random.IntN(len(kinds))]
		panics.next = time.Now()
	}
	if actorKind(actor.Path()) != panics.chosen {
		return
	}
	panics.chosen = ""
	if panics.of[actor.Path()]++; panics.of[actor.Path()] > fewOfOne && actorKind(actor.Path()) != "session" {
		return
	}
	panics.left--
	panics.next = time.Now().Add(time.Second)
	note, err := os.OpenFile(panics.note, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		os.Exit(99)
	}
	fmt.Fprintln(note, actor.Path())
	note.Close()
	panic("injected")
}

// actorKind tells what an actor is by its path.
func actorKind(path string) string {
	name := path[strings.LastIndexByte(path, '/')+1:]
	switch {
	case strings.HasPrefix(name, "session-"):
		return "session"
	case strings.HasPrefix(name, "account-"):
		return "account"
	case len(name) == 64:
		return "contact"
	}
	return name
}
