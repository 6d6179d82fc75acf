// SPDX-License-Identifier: MPL-2.0

package bridgetest

import (
	"bytes"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"time"

	"maunium.net/go/mautrix/id"
)

// FaultKind says how the homeserver misbehaves.
type FaultKind uint8

const (
	// FaultNone is a healthy homeserver.
	FaultNone FaultKind = iota
	// FaultDown breaks every connection without an answer.
	FaultDown
	// FaultHang keeps every request waiting until the fault is gone. Those whose
	// client has gone away by then come to nothing.
	FaultHang
	// FaultError answers 500.
	FaultError
	// FaultRateLimit answers 429 with Retry-After.
	FaultRateLimit
	// FaultUnreachable serves /versions and /whoami and answers 502 to all else: a
	// homeserver that only looks alive.
	FaultUnreachable
	// FaultLoseAnswer serves the request and breaks the connection instead of
	// answering: the client cannot know what has happened.
	FaultLoseAnswer
	// FaultHoldAnswer serves the request at once and keeps the answer until the fault is
	// gone: the client reads what was true some time ago.
	FaultHoldAnswer
	// FaultHandler answers as [Fault.Handler] does.
	FaultHandler
	// FaultRefused is what RefuseText does. It is for [Send.Fault] only.
	FaultRefused
	// FaultAnswer answers with a status, headers and a body of the test's choice, as a
	// proxy does, or a homeserver with a filter.
	FaultAnswer
)

// Fault is one way to misbehave.
type Fault struct {
	Kind FaultKind
	// RetryAfter is what FaultRateLimit asks for.
	RetryAfter time.Duration
	// Handler is what answers for FaultHandler.
	Handler http.HandlerFunc
	// Only limits the fault to some requests. Nil means all.
	Only func(*http.Request) bool
	// Content limits the fault to requests whose body contains it. Empty means all.
	Content string
	// Status, Header and Body are what FaultAnswer answers.
	Status int
	Header http.Header
	Body   []byte
}

// concerns reports whether a request meets the fault.
func (f *Fault) concerns(r *http.Request, body []byte) bool {
	return f.Kind != FaultNone && (f.Only == nil || f.Only(r)) && bytes.Contains(body, []byte(f.Content))
}

// SetFault replaces all faults; the zero Fault heals the homeserver. What FaultHang
// holds back goes on, with the fault that is in force then.
func (h *Homeserver) SetFault(fault Fault) { h.SetFaults(fault) }

// SetFaults is SetFault for several faults. A request meets the first that concerns
// it.
func (h *Homeserver) SetFaults(faults ...Fault) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.faults = slices.Clone(faults)
	close(h.healed)
	h.healed = make(chan struct{})
	h.notifyLocked()
}

// SetSlow delays every event that is sent to the room. Zero ends it, also for those
// that wait already.
func (h *Homeserver) SetSlow(roomID id.RoomID, delay time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.slow[roomID] = delay
	h.notifyLocked()
}

// RefuseText makes the homeserver answer 413 to events that have one of the texts
// in their content, as it does to events that are too large.
func (h *Homeserver) RefuseText(texts ...string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.refused = texts
}

// SendsOnly is for [Fault.Only]: it selects the requests that send an event to a
// room, state events excepted.
func SendsOnly(r *http.Request) bool {
	return r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/send/")
}

// MessagesOnly is for [Fault.Only]: it selects those of [SendsOnly] whose event is
// one of the specification's.
func MessagesOnly(r *http.Request) bool {
	_, eventType, _ := sendPath(r)
	return SendsOnly(r) && strings.HasPrefix(eventType, "m.")
}

// withFaults stands before all handlers.
func (h *Homeserver) withFaults(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody)) //nolint:forbidigo // it is limited
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		for {
			fault, healed := h.faultFor(r, body)
			if fault.Kind != FaultNone && fault.Kind != FaultLoseAnswer && fault.Kind != FaultHoldAnswer {
				h.recordFault(r, fault.Kind)
			}
			switch fault.Kind {
			case FaultNone:
				h.delay(r)
				next.ServeHTTP(w, r)
			case FaultDown:
				panic(http.ErrAbortHandler)
			case FaultHang:
				select {
				case <-healed:
				case <-r.Context().Done():
				}
				if r.Context().Err() != nil {
					panic(http.ErrAbortHandler)
				}
				continue
			case FaultError:
				writeError(w, http.StatusInternalServerError, "M_UNKNOWN", "the database is on fire")
			case FaultRateLimit:
				w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(fault.RetryAfter.Seconds()))))
				writeError(w, http.StatusTooManyRequests, "M_LIMIT_EXCEEDED", "too fast")
			case FaultAnswer:
				maps.Copy(w.Header(), fault.Header)
				w.WriteHeader(fault.Status)
				_, _ = w.Write(fault.Body) // the client may be gone
			case FaultUnreachable:
				if strings.HasSuffix(r.URL.Path, "/versions") || strings.HasSuffix(r.URL.Path, "/whoami") {
					next.ServeHTTP(w, r)
					return
				}
				writeError(w, http.StatusBadGateway, "M_UNKNOWN", "nobody is behind this proxy")
			case FaultHandler:
				fault.Handler(w, r)
			case FaultHoldAnswer:
				held := httptest.NewRecorder()
				next.ServeHTTP(held, r)
				h.awaitHealed(r, body, fault.Kind)
				maps.Copy(w.Header(), held.Header())
				w.WriteHeader(held.Code)
				_, _ = w.Write(held.Body.Bytes()) // the client may be gone
			case FaultLoseAnswer:
				next.ServeHTTP(discardAnswer{header: make(http.Header)}, r)
				panic(http.ErrAbortHandler)
			}
			return
		}
	})
}

// faultFor returns the fault that a request meets, and what is closed when the faults
// are replaced.
func (h *Homeserver) faultFor(r *http.Request, body []byte) (Fault, <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, fault := range h.faults {
		if fault.concerns(r, body) {
			return fault, h.healed
		}
	}
	return Fault{}, h.healed
}

// awaitHealed waits until a request does not meet the kind of fault any more, or its
// client has gone away.
func (h *Homeserver) awaitHealed(r *http.Request, body []byte, kind FaultKind) {
	for {
		fault, healed := h.faultFor(r, body)
		if fault.Kind != kind {
			return
		}
		select {
		case <-healed:
		case <-r.Context().Done():
			return
		}
	}
}

// delay waits as SetSlow says.
func (h *Homeserver) delay(r *http.Request) {
	if !SendsOnly(r) {
		return
	}
	roomID, _, _ := sendPath(r)
	for begun := time.Now(); ; {
		h.mu.Lock()
		rest, changed := h.slow[roomID]-time.Since(begun), h.changed
		h.mu.Unlock()
		if rest <= 0 {
			return
		}
		timer := time.NewTimer(rest)
		select {
		case <-timer.C:
		case <-changed:
		case <-r.Context().Done():
			timer.Stop()
			return
		}
		timer.Stop()
	}
}

// recordFault notes an attempt that no handler will see.
func (h *Homeserver) recordFault(r *http.Request, kind FaultKind) {
	if !SendsOnly(r) {
		return
	}
	roomID, eventType, txn := sendPath(r)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.sends = append(h.sends, Send{
		At: time.Now(), Room: roomID, Type: eventType, TxnID: txn, Fault: kind,
		Sender: id.UserID(r.URL.Query().Get("user_id")),
	})
	h.notifyLocked()
}

// sendPath takes .../rooms/{room}/send/{type}/{txn} apart.
func sendPath(r *http.Request) (roomID id.RoomID, eventType, txn string) {
	parts := strings.Split(r.URL.Path, "/")
	if len(parts) < 4 {
		return "", "", ""
	}
	last := len(parts) - 1
	return id.RoomID(parts[last-3]), parts[last-1], parts[last]
}

// discardAnswer is a response that goes nowhere.
type discardAnswer struct{ header http.Header }

func (d discardAnswer) Header() http.Header         { return d.header }
func (d discardAnswer) Write(p []byte) (int, error) { return len(p), nil }
func (d discardAnswer) WriteHeader(int)             {}
