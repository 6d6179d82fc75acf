// SPDX-License-Identifier: MPL-2.0

package control

import (
	"context"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// The part of the API that is about the devices of contacts.

// HeldDevice is a device that authenticated as a contact and that nothing else
// speaks for.
type HeldDevice struct {
	Node    string    `json:"node" doc:"Node key"`
	Since   time.Time `json:"since"`
	Refused bool      `json:"refused,omitempty" doc:"It was looked at and turned away"`
}

// Device is one to be let in.
type Device struct {
	Node string `json:"node" doc:"Node key, 64 hex digits"`
}

func heldOf(n *node.Node, c store.Contact) []HeldDevice {
	var out []HeldDevice
	for _, h := range n.HeldDevices(c.Account, c.ID) {
		out = append(out, HeldDevice{Node: h.Node.String(), Since: h.Since, Refused: h.Refused})
	}
	return out
}

func (s *service) trustDevice(ctx context.Context, in *struct {
	ContactPath
	Body Device
},
) (*body[Contact], error) {
	device, err := identity.ParseNodeKey(in.Body.Node)
	if err != nil || device.IsZero() {
		return nil, huma.Error422UnprocessableEntity("a node key has 64 hex digits")
	}
	return s.change(&in.ContactPath, node.NameContact, func(account, contact identity.PublicKey) (store.Contact, error) {
		return s.node.TrustDevice(ctx, account, contact, device)
	})
}
