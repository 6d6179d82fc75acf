// SPDX-License-Identifier: MPL-2.0

package watch

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/bridge"
)

// healthTime is how long the node may take to say how it is.
const healthTime = 5 * time.Second

// Health is whether a node does its work.
type Health struct {
	Ready bool `json:"ready" doc:"It receives and sends"`
	// Reasons say why it does not.
	Reasons []string `json:"reasons" doc:"Why not, a phrase each"`
}

// HealthOf judges a status. A node is ready when it reaches the network and is found
// there, when it takes in what arrives, and when its bridge works in both directions: one
// that is up and deaf is not.
func HealthOf(s control.Status) Health {
	h := Health{Reasons: []string{}}
	not := func(format string, args ...any) { h.Reasons = append(h.Reasons, fmt.Sprintf(format, args...)) }
	for _, w := range s.Warnings {
		switch w.Code {
		case "offline":
			not("no Yggdrasil peer is connected")
		case "key_lost", "part_failing", "not_listening":
			not("%s", oneLine(w.Text))
		}
	}
	if len(s.Trackers) > 0 && !slices.ContainsFunc(s.Trackers, func(t control.Tracker) bool { return t.Answers }) {
		not("no tracker answers")
	}
	if s.DiskLow {
		not("the disk is nearly full")
	}
	if raw, has := s.Parts[matrixPart]; has {
		switch b := bridgeOf(s); {
		case b == nil:
			not("the bridge does not answer: %s", PartError(raw))
		case b.State != bridge.StateRunning && b.State != bridge.StateDegraded:
			not("the bridge does not run (%s)", b.State)
		default:
			if !b.Homeserver.OK {
				not("the homeserver does not answer the bridge")
			}
			if !b.Listener.OK {
				not("the homeserver does not reach the bridge")
			}
		}
	}
	h.Ready = len(h.Reasons) == 0
	return h
}

// PartError is what a part says that cannot say how it is.
func PartError(raw json.RawMessage) string {
	var failure struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(raw, &failure) != nil || failure.Error == "" {
		return "its status cannot be read"
	}
	return oneLine(failure.Error)
}

// Alive answers 200 while the node answers at all.
func Alive(ask control.Ask) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthTime)
		defer cancel()
		if _, err := ask.Actors(ctx); err != nil {
			http.Error(w, "the node does not answer", http.StatusServiceUnavailable)
			return
		}
		fmt.Fprintln(w, "alive")
	})
}

// Ready answers 200 while the node does its work, else 503, with a [Health].
func Ready(ask control.Ask) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), healthTime)
		defer cancel()
		h := Health{Reasons: []string{"the node does not answer"}}
		if status, err := ask.Status(ctx); err == nil {
			h = HealthOf(status)
		}
		w.Header().Set("Content-Type", "application/json")
		if !h.Ready {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(h) // the client may be gone
	})
}
