// SPDX-License-Identifier: MPL-2.0

package store

import (
	"os"
	"runtime"
	"sync"
)

var spare sync.Once

// SpareProcessor lets one goroutine more run at a time than the runtime would.
// While a goroutine waits for the disk to sync, the runtime counts it as running
// for a while: with two cores, every other goroutine has one left. The main
// function of a program with a busy Store calls it first; later calls do nothing,
// nor does any when the environment sets GOMAXPROCS.
func SpareProcessor() {
	spare.Do(func() {
		if os.Getenv("GOMAXPROCS") == "" {
			runtime.GOMAXPROCS(runtime.GOMAXPROCS(0) + 1)
		}
	})
}
