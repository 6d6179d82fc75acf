// SPDX-License-Identifier: MPL-2.0

package session

import (
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/session/attribution"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// Deps is what sessions and the listener of a node use.
type Deps struct {
	// Store is for reading; Writer is the actor that writes to it.
	Store  *store.Store
	Writer kernel.Ref
	// Node is the key of our node.
	Node    identity.NodeKey
	Keys    Keys
	Network Network
	Files   Files
	Table   *Table
	// Pairs returns the number of pairs of an account and an accepted contact at a node; 0
	// for the node of strangers.
	Pairs func(identity.NodeKey) int
	// Idle is how long a session lives without anything but pings.
	Idle time.Duration
	// Now is the wall clock, for what is stored.
	Now func() time.Time
	Log *slog.Logger
	// Strangers gets the log lines that strangers can cause.
	Strangers *strangerlog.Log
}

// Keys are the keys of our accounts.
type Keys interface {
	// Account returns the key of an account that is served here.
	Account(id identity.PublicKey) (identity.PrivateKey, bool)
	// Security is what a handshake with a node needs to sign with care.
	Security(remote identity.NodeKey) peer.Security
}

// Network is the network that runs at the moment.
type Network interface {
	// Carrier returns the carrier of a kind; false while there is none.
	Carrier(kind overlay.Kind) (overlay.Carrier, bool)
}

func (d *Deps) nowMillis() store.Millis { return store.MillisOf(d.Now()) }

// noteCrowded counts a message that was refused because its guid has too many contents.
// The sender keeps it, and sends other messages.
func (d *Deps) noteCrowded(p store.Conversation) {
	d.Table.crowded.Add(1)
	d.Strangers.Warn("message refused: its guid has too many contents", "account", p.Account.Short(), "contact", p.Contact().Short())
}

// Table is what the sessions of a node, its listener and its contacts share. It
// is safe for concurrent use and never blocks.
type Table struct {
	// sessions has the sessions with each node, owed the files that are owed.
	sessions *attribution.Table
	owed     *owedFiles
	// profiles limits how often contacts change their profiles.
	profiles *profileLimiter
	// strangers are the sessions with identities that are not accepted contacts.
	strangers *strangerSessions
	// askers are strangers that were given a signature.
	askers *askers
	// parallel bounds the live sessions.
	parallel       *kernel.Credits
	stray, crowded atomic.Uint64
}

// NewTable returns the table of a node that has at most maxSessions live sessions.
func NewTable(maxSessions int, strangers *strangerlog.Log) *Table {
	return &Table{
		sessions: attribution.New(strangers), owed: newOwedFiles(), profiles: newProfileLimiter(), askers: newAskers(),
		strangers: newStrangerSessions(maxSessions), parallel: kernel.NewCredits(maxSessions, int64(maxSessions)),
	}
}

// Wait returns how long a conversation has to wait for a session with a node, 0 if it may
// have one now. Otherwise it is in line, and the actor contact gets [TurnCame] when its
// turn has come.
func (t *Table) Wait(node identity.NodeKey, c store.Conversation, contact kernel.Ref) time.Duration {
	return t.sessions.Wait(node, c, contact)
}

// OwesFiles reports whether a contact has requested files that its session could not
// send; its next one sends them.
func (t *Table) OwesFiles(c store.Conversation) bool { return t.owed.has(c, time.Now()) }

// Strangers counts the sessions with identities that are not accepted contacts.
func (t *Table) Strangers() int { return t.strangers.count() }

// StrayReactions returns the number of reactions, since the start, to messages that their
// conversations do not have.
func (t *Table) StrayReactions() uint64 { return t.stray.Load() }

// CrowdedGUIDs returns the number of messages, since the start, that were refused because
// their guid has store.MaxVariants contents.
func (t *Table) CrowdedGUIDs() uint64 { return t.crowded.Load() }
