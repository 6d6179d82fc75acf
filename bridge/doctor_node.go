// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"

	"github.com/mimird/mimird/bridge/fault"
)

// NodeState is what is known of the node that should run the bridge.
type NodeState struct {
	// Role is whether the configuration gives the node the role of the bridge.
	Role bool
	// Runs is whether a node runs there, and Error what its bridge says instead of its
	// Status. Status is nil when the node runs without the bridge.
	Runs   bool
	Status *Status
	Error  string
}

// node looks whether the bridge runs in the node that is there: all else can be
// right while nothing runs.
func (d *doctor) node(ctx context.Context) Check {
	if d.Node == nil {
		return skipped("there is no node to ask")
	}
	state := d.Node(ctx)
	switch {
	case !state.Role && state.Runs && state.Status == nil:
		return failed("set roles: [node, matrix] in the configuration and restart mimird", "the node runs without the bridge: roles lacks matrix")
	case !state.Role:
		return failed("set roles: [node, matrix] in the configuration and restart mimird", "roles lacks matrix, so no bridge is started")
	case !state.Runs:
		return skipped("mimird does not run; start it with: mimird up")
	case state.Error != "":
		return failed("look at the log of mimird", "the bridge of the running node does not answer: %.200s", fault.OneLineText(state.Error))
	case state.Status == nil:
		return failed("restart mimird", "the node that runs was started without the bridge")
	}
	switch s := state.Status; s.State {
	case StateFailed:
		return failed("do what it says; mimird starts the bridge again by itself", "the bridge of the running node fails: %.200s", s.Error)
	case StateStarting:
		return warning("wait, and run it again", "the bridge of the running node is starting")
	case StateDegraded:
		return warning("see the other checks", "the bridge of the running node works only in part: %.200s",
			fault.OneLineText(s.Homeserver.Error+" "+s.Listener.Error))
	default:
		return fine("the bridge runs in the node, with %d logins", s.Logins)
	}
}
