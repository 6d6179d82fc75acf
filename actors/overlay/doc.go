// SPDX-License-Identifier: MPL-2.0

// Package overlay reaches other nodes over the Yggdrasil network. It embeds
// one Yggdrasil node and offers its users a [Carrier]: dial a node key, listen
// on a port, exchange datagrams. Users never see Yggdrasil itself.
package overlay
