// SPDX-License-Identifier: MPL-2.0

package config

import (
	"slices"
	"time"
)

// Network is what concerns Mimir alone, under the key that mautrix bridges
// have for such things.
type Network struct {
	// Edits is one of the Edits constants.
	Edits string `yaml:"edits"`
	// CallNotices says in the room when the contact has called.
	CallNotices bool `yaml:"call_notices"`
	// WaitingNotice is how long a message waits for the contact before the room is
	// told that it does; 0 means never.
	WaitingNotice time.Duration `yaml:"waiting_notice"`
	// GiveUp is how long a message waits for the contact before it is given up; 0
	// means that it is not.
	GiveUp time.Duration `yaml:"give_up"`
}

// What becomes of an edit in Matrix, which Mimir does not have.
const (
	// EditsRefuse tells the user that there are none.
	EditsRefuse = "refuse"
	// EditsCorrection sends the new text as a message that answers the old one.
	EditsCorrection = "correction"
)

func defaultNetwork() Network {
	return Network{Edits: EditsRefuse, CallNotices: true, WaitingNotice: time.Minute}
}

func (c *Network) validate(bad report) {
	if !slices.Contains([]string{EditsRefuse, EditsCorrection}, c.Edits) {
		bad("network.edits: %.64q is neither %s nor %s", c.Edits, EditsRefuse, EditsCorrection)
	}
	if c.WaitingNotice < 0 {
		bad("network.waiting_notice: must not be negative")
	}
	if c.GiveUp != 0 && c.GiveUp < time.Minute {
		bad("network.give_up: must be at least 1m, or 0")
	}
}
