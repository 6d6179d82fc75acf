// SPDX-License-Identifier: MPL-2.0

package main

import (
	"maps"
	"net/http"
	"net/http/pprof"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/cmd/internal/watch"
)

// socketHandlers are what the control socket serves beside its API: metrics, health, and
// what developers look at. The profiles tell what is in memory, so they are here alone,
// where only the user of the node gets.
func socketHandlers() map[string]func(control.Ask) http.Handler {
	handlers := maps.Clone(watch.Handlers())
	fixed := func(h http.HandlerFunc) func(control.Ask) http.Handler {
		return func(control.Ask) http.Handler { return h }
	}
	handlers["/debug/pprof/"] = fixed(pprof.Index) // goroutine, heap, allocs, mutex and others
	handlers["/debug/pprof/profile"] = fixed(pprof.Profile)
	handlers["/debug/pprof/trace"] = fixed(pprof.Trace)
	return handlers
}
