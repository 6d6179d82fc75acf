// SPDX-License-Identifier: MPL-2.0

package config

import (
	"fmt"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/mimird/mimird/proto/identity"
)

// Mediator configures the role of a mediator.
type Mediator struct {
	Listen []string `yaml:"listen"`
	// Create says who may create groups; Creators are those of CreateListed.
	Create   string     `yaml:"create"`
	Creators []Identity `yaml:"creators"`

	Quota         Size `yaml:"quota"`
	PerGroup      Size `yaml:"per_group"`
	PerOwner      Size `yaml:"per_owner"`
	PerMember     Size `yaml:"per_member"`
	MaxMessage    Size `yaml:"max_message"`
	MaxGroups     int  `yaml:"max_groups"`
	GroupsOfOwner int  `yaml:"groups_per_owner"`
	MaxMembers    int  `yaml:"members_per_group"`
	// Keep is how long messages are kept, 0 for ever.
	Keep           Duration `yaml:"keep"`
	MaxConnections int      `yaml:"max_connections"`
}

// Who may create groups.
const (
	CreateAnyone = "anyone"
	CreateListed = "listed"
)

// Identity is the key of an identity, written as 64 hex digits or as a link.
type Identity struct{ identity.PublicKey }

// UnmarshalYAML reads 64 hex digits or a link.
func (i *Identity) UnmarshalYAML(node *yaml.Node) error {
	if link, err := identity.ParseLink(node.Value); err == nil {
		i.PublicKey = link.Key
		return nil
	}
	key, err := identity.ParsePublicKey(node.Value)
	if err != nil {
		return fmt.Errorf("line %d: want the key of an identity, 64 hex digits, or its link", node.Line)
	}
	i.PublicKey = key
	return nil
}

// MarshalYAML writes the form that is read.
func (i Identity) MarshalYAML() (any, error) { return i.String(), nil }

func defaultMediator() Mediator {
	return Mediator{
		Listen: []string{}, Create: CreateAnyone, Creators: []Identity{},
		Quota: 20 << 30, PerGroup: 1 << 30, PerOwner: 4 << 30, PerMember: 256 << 20, MaxMessage: 1 << 20,
		MaxGroups: 10_000, GroupsOfOwner: 100, MaxMembers: 100_000, MaxConnections: 2048,
	}
}

// maxMediatorMessage is what the store takes of one message, less what surrounds it.
const maxMediatorMessage = 15 << 20

func (c *Config) validateMediator(bad func(format string, args ...any)) {
	m := c.Mediator
	if m.Create != CreateAnyone && m.Create != CreateListed {
		bad("mediator.create: %q is none of anyone, listed", clip(m.Create))
	}
	if m.Create == CreateAnyone && len(m.Creators) > 0 {
		bad("mediator.creators: names somebody, but create is anyone; write listed there")
	}
	for _, size := range []struct {
		name string
		size Size
	}{
		{"quota", m.Quota},
		{"per_group", m.PerGroup},
		{"per_owner", m.PerOwner},
		{"per_member", m.PerMember},
	} {
		if size.size < 1<<20 {
			bad("mediator.%s: must be at least 1MiB", size.name)
		}
	}
	if m.MaxMessage < 64<<10 || m.MaxMessage > maxMediatorMessage {
		bad("mediator.max_message: must be between 64KiB and 15MiB")
	}
	for _, count := range []struct {
		name  string
		count int
	}{
		{"max_groups", m.MaxGroups},
		{"groups_per_owner", m.GroupsOfOwner},
		{"members_per_group", m.MaxMembers},
		{"max_connections", m.MaxConnections},
	} {
		if count.count < 1 {
			bad("mediator.%s: must be at least 1", count.name)
		}
	}
	if m.MaxMembers > 100_000 {
		bad("mediator.members_per_group: must be at most 100000")
	}
	if m.MaxConnections > 100_000 {
		bad("mediator.max_connections: must be at most 100000")
	}
	if keep := time.Duration(m.Keep); keep != 0 && keep < time.Hour {
		bad("mediator.keep: %v is shorter than 1h; 0s keeps messages for ever", keep)
	}
	for _, uri := range m.Listen {
		if err := checkURI(uri); err != nil {
			bad("mediator.listen: %q: %w", clip(uri), err)
		}
	}
}
