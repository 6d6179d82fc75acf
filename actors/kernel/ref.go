// SPDX-License-Identifier: MPL-2.0

package kernel

import "log/slog"

// Ref is the address of one actor, or of somebody who waits in Ask. It is
// comparable and safe for use anywhere. It stays with its actor through restarts,
// and never comes to mean another actor that is spawned later under the same
// name. The zero Ref means no actor.
type Ref struct{ to recipient }

// recipient is a *cell or an *ask.
type recipient interface {
	tell(msg any, sender Ref)
	path() string
	home() *System
}

// Tell sends msg without a sender, from anywhere outside an actor; inside, use
// [Context.Tell]. It never blocks and never fails: to an actor that has ended, or
// to the zero Ref, the message is counted and dropped. A nil message is refused:
// it is counted, logged and dropped.
func (r Ref) Tell(msg any) {
	if r.to == nil {
		zeroRefTells.Add(1)
		return
	}
	r.tell(msg, Ref{})
}

func (r Ref) tell(msg any, sender Ref) {
	if msg == nil {
		r.to.home().refuseNil(r, sender)
		return
	}
	r.to.tell(msg, sender)
}

// IsZero reports whether r means no actor.
func (r Ref) IsZero() bool { return r.to == nil }

// Path returns the names from the root actor to this one, joined by '/'; it is
// empty for the zero Ref.
func (r Ref) Path() string {
	if r.to == nil {
		return ""
	}
	return r.to.path()
}

// String returns Path.
func (r Ref) String() string { return r.Path() }

// LogValue makes the log show Path.
func (r Ref) LogValue() slog.Value { return slog.StringValue(r.Path()) }
