// SPDX-License-Identifier: MPL-2.0

package overlay

import "github.com/mimird/mimird/proto/identity"

// PacketLayer is what carriers stand on: the packet connection of one
// Yggdrasil node, or a node of memnet. Packets may be lost, and a packet that
// another one has overtaken is lost.
type PacketLayer interface {
	// Key is the node's public key.
	Key() identity.NodeKey
	// ReadPacket reads the next packet into buf, which holds 64 KiB, and returns
	// the authentic key of its sender. One goroutine calls it, all the time, and
	// never waits for WritePacket: a Yggdrasil node whose packets are not read
	// stops sending as well, for ever when the reader waits for the sender. It
	// fails only after Close, or when the node has failed.
	ReadPacket(buf []byte) (n int, from identity.NodeKey, err error)
	// WritePacket sends a copy of packet. It may block while the node is busy.
	// Success says nothing about delivery.
	WritePacket(packet []byte, to identity.NodeKey) error
	// Lookup asks the network for the path to a node, without sending that node
	// anything. It does not block.
	Lookup(key identity.NodeKey)
	// NotifyPaths makes f be called with every node to which a path has been found;
	// a request for an address finds a key of which it knows only a part. f must
	// not block. It replaces the f before.
	NotifyPaths(f func(key identity.NodeKey))
	// HasPath says whether the path to a node is known. It may block while the
	// node is busy.
	HasPath(key identity.NodeKey) bool
	// Close ends the node and ReadPacket.
	Close() error
}
