// SPDX-License-Identifier: MPL-2.0

package config

import (
	"fmt"
	"regexp"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

// Retention says how long things stay; 0 is for ever.
type Retention struct {
	Contacts Duration `yaml:"contacts"`
	Groups   Duration `yaml:"groups"`
	// Conversations are exceptions, by the key or link of a contact or the id of a group.
	Conversations map[string]Duration `yaml:"conversations"`
	Events        Duration            `yaml:"events"`
	// Gone are consumers of the event log that will never read again.
	Gone []string `yaml:"gone_consumers"`
}

// minRetention keeps a typing error from removing everything at once.
const minRetention = time.Hour

// groupID is how groups are named: as mimird group list prints them.
var groupID = regexp.MustCompile(`^group-[0-9a-f]{64}$`)

// ConversationName returns how the API names the conversation of a key of
// [Retention.Conversations].
func ConversationName(key string) (string, error) {
	if groupID.MatchString(key) {
		return key, nil
	}
	if link, err := identity.ParseLink(key); err == nil {
		return link.Key.String(), nil
	}
	contact, err := identity.ParsePublicKey(key)
	if err != nil {
		return "", fmt.Errorf("%q is neither the key or link of a contact nor the id of a group", clip(key))
	}
	return contact.String(), nil
}

func (c *Config) validateRetention(bad func(format string, args ...any)) {
	r := c.Retention
	check := func(key string, d Duration) {
		if period := time.Duration(d); period != 0 && period < minRetention {
			bad("retention.%s: %v is shorter than %v; 0s is for ever", key, period, minRetention)
		}
	}
	check("contacts", r.Contacts)
	check("groups", r.Groups)
	check("events", r.Events)
	for key, d := range r.Conversations {
		if _, err := ConversationName(key); err != nil {
			bad("retention.conversations: %w", err)
		}
		check("conversations", d)
	}
}
