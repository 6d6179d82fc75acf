// SPDX-License-Identifier: MPL-2.0

package node

import "github.com/mimird/mimird/actors/kernel"

// StatsForTest are the counters of the node's actors.
func (n *Node) StatsForTest() []kernel.ActorStats { return n.ActorStats() }
