// SPDX-License-Identifier: MPL-2.0

package actors

// RefusesToSignForTest asks the guard that every handshake of the node uses.
func (n *Node) RefusesToSignForTest(value [32]byte) bool { return n.keys.Refuses(value) }
