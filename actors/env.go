// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"log/slog"
	"path/filepath"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/peer"
)

// env is what the actors of one node share. The node actor fills in the addresses
// before it spawns whoever needs them; nothing in here changes afterwards, except
// inside the parts that say so.
type env struct {
	opts  Options
	log   *slog.Logger
	store *store.Store // for reading
	keys  *keyring.Ring
	net   *uplink.Cell
	// trackerNet is the tracker role's network.
	trackerNet *uplink.Cell
	// filesNet is the file server's network.
	filesNet *uplink.Cell
	contacts *contactTable
	sessions *session.Table
	// contactNodes are the node keys of accepted contacts.
	contactNodes *contactNodes
	// strangerLog has every log line whose number a stranger decides.
	strangerLog *strangerlog.Log
	foreign     *resolver.ForeignNodes
	trackersV1  *resolver.TrackersV1
	// files are the files of messages.
	files *transfer.Service

	writer   kernel.Ref // the store actor
	resolver kernel.Ref
}

// nowMillis is the wall clock in the unit of the wire and of the store. It is for
// what is written down only: it may jump, and nothing may wait for it.
func (e *env) nowMillis() store.Millis { return store.MillisOf(e.opts.Now()) }

func (e *env) contactDeps() *contactDeps {
	return &contactDeps{
		Store: e.store, Writer: e.writer, Resolver: e.resolver, Network: e.net, Now: e.opts.Now, Log: e.strangerLog,
		Keys: e.keys, Nodes: e.contactNodes, Table: e.contacts, Sessions: e.sessionDeps(),
		CallRing: e.opts.CallRing, Patience: e.opts.Media.Patience,
		MediaOf: func(a peer.Attachment, now store.Millis) *store.Media { return e.opts.Media.Incoming(a, true, now) },
	}
}

// sessionDeps is what sessions and the listener use. It is for actors that are started
// after the store actor.
func (e *env) sessionDeps() *session.Deps {
	return &session.Deps{
		Store: e.store, Writer: e.writer, Node: e.keys.RoleKey(keyring.RoleNode), Keys: e.keys,
		Network: e.net, Files: e.files, Table: e.sessions, Pairs: e.contactNodes.pairs,
		Idle: e.opts.SessionIdle, Now: e.opts.Now, Log: e.log, Strangers: e.strangerLog,
	}
}

func (e *env) accountDeps() *accountDeps {
	return &accountDeps{
		Store: e.store, Writer: e.writer, Resolver: e.resolver, Now: e.opts.Now, Log: e.strangerLog, Keys: e.keys, Contact: e.contactDeps(),
	}
}

func (e *env) resolverDeps() resolver.Deps {
	return resolver.Deps{
		Store: e.store, Writer: e.writer, Keys: e.keys, Network: e.net, Now: e.opts.Now, Log: e.log, Strangers: e.strangerLog,
		Trackers: e.opts.Trackers, V1: e.trackersV1, OwnDevices: e.opts.OwnDevices, Foreign: e.foreign,
	}
}

func (e *env) trackerDeps() trackerserver.Deps {
	return trackerserver.Deps{Key: e.keys.Role(keyring.RoleTracker), Cell: e.trackerNet, Log: e.log, Strangers: e.strangerLog}
}

func (e *env) filesDeps() fileserver.Deps {
	return fileserver.Deps{
		Dir: filepath.Join(e.opts.Dir, filesDirName), Key: e.keys.Role(keyring.RoleFiles), Cell: e.filesNet, Store: e.store, Writer: e.writer,
		Now: e.opts.Now, Log: e.log, Strangers: e.strangerLog,
	}
}
