// SPDX-License-Identifier: MPL-2.0

package node

import (
	"path/filepath"

	"github.com/mimird/mimird/actors/account"

	"github.com/mimird/mimird/actors/contact"

	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/forward"
	"github.com/mimird/mimird/actors/group"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/mediatorserver"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/session"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/proto/peer"
)

// What each part of the node uses. The node actor asks for it when it starts the part;
// writer is the store actor, which it has started before.

func (n *Node) contactDeps(writer kernel.Ref) *contact.Deps {
	return &contact.Deps{
		Store: n.store, Writer: writer, Resolver: n.resolver, Network: n.net, Now: n.opts.Now, Log: n.strangerLog,
		Keys: n.keys, Nodes: n.contactNodes, Table: n.contacts, Sessions: n.sessionDeps(writer),
		CallRing: n.opts.CallRing, Patience: n.opts.Media.Patience, Answering: n.answering,
	}
}

// sessionDeps is what sessions and the listener use.
func (n *Node) sessionDeps(writer kernel.Ref) *session.Deps {
	return &session.Deps{
		Store: n.store, Writer: writer, Node: n.keys.RoleKey(keyring.RoleNode), Keys: n.keys,
		Network: n.net, Files: n.files, Table: n.sessions, Pairs: n.contactNodes.Pairs,
		Idle: n.opts.SessionIdle, Now: n.opts.Now, Log: n.opts.Logger, Strangers: n.strangerLog,
	}
}

func (n *Node) accountDeps(writer kernel.Ref) *account.Deps {
	return &account.Deps{
		Store: n.store, Writer: writer, Resolver: n.resolver, Log: n.strangerLog, Keys: n.keys, Contact: n.contactDeps(writer),
		Group: n.groupDeps(writer), Forward: &forward.Deps{Store: n.store, Writer: writer, Files: n.files, Now: n.opts.Now},
	}
}

// groupDeps is what the groups of accounts use.
func (n *Node) groupDeps(writer kernel.Ref) *group.Deps {
	return &group.Deps{
		Store: n.store, Writer: writer, Network: n.net, Now: n.opts.Now, Log: n.strangerLog, Keys: n.keys, Table: n.groups,
		Mediators: n.opts.Mediators, Patience: n.opts.Media.Patience,
		MediaOf: func(g store.Group, a peer.Attachment, now store.Millis) *store.Media {
			options := n.opts.Media
			switch {
			case g.AutoDownload < 0:
				options.AutoDownload = transfer.Never
			case g.AutoDownload > 0:
				options.AutoDownload = g.AutoDownload
			}
			return options.Incoming(a, true, now)
		},
	}
}

func (n *Node) resolverDeps(writer kernel.Ref) resolver.Deps {
	return resolver.Deps{
		Store: n.store, Writer: writer, Keys: n.keys, Network: n.net, Now: n.opts.Now, Log: n.opts.Logger, Strangers: n.strangerLog,
		Trackers: n.opts.Trackers, V1: n.trackersV1, OwnDevices: n.opts.OwnDevices, Foreign: n.foreign,
	}
}

func (n *Node) trackerDeps() trackerserver.Deps {
	return trackerserver.Deps{Key: n.keys.Role(keyring.RoleTracker), Cell: n.trackerNet, Log: n.opts.Logger, Strangers: n.strangerLog}
}

func (n *Node) mediatorDeps(writer kernel.Ref) mediatorserver.Deps {
	return mediatorserver.Deps{
		Key: n.keys.Role(keyring.RoleMediator), Cell: n.mediatorNet, Store: n.store, Writer: writer,
		Restored: filepath.Join(n.opts.Dir, RestoredFile), Now: n.opts.Now, Log: n.opts.Logger, Strangers: n.strangerLog,
	}
}

func (n *Node) filesDeps(writer kernel.Ref) fileserver.Deps {
	return fileserver.Deps{
		Dir: filepath.Join(n.opts.Dir, filesDirName), Key: n.keys.Role(keyring.RoleFiles), Cell: n.filesNet, Store: n.store, Writer: writer,
		Now: n.opts.Now, Log: n.opts.Logger, Strangers: n.strangerLog,
	}
}
