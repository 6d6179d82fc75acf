// SPDX-License-Identifier: MPL-2.0

package config

import (
	"slices"
	"time"
)

// Network has the settings that concern Mimir alone, under the key that mautrix bridges
// have for those of their network.
type Network struct {
	// Edits is EditsRefuse or EditsCorrection.
	Edits string `yaml:"edits"`
	// CallNotices tells the room of missed calls.
	CallNotices bool `yaml:"call_notices"`
	// WaitingNotice is the time after which the room is told that a message is still
	// undelivered. 0 means never.
	WaitingNotice time.Duration `yaml:"waiting_notice"`
	// GiveUp is the time after which the bridge cancels an undelivered message. 0 means
	// never.
	GiveUp time.Duration `yaml:"give_up"`
}

// Ways to handle an edit in Matrix. Mimir has none.
const (
	// EditsRefuse tells the user that Mimir has no edits.
	EditsRefuse = "refuse"
	// EditsCorrection sends the new text as a reply to the old message.
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
