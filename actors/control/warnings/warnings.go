// SPDX-License-Identifier: MPL-2.0

// Package warnings says in words what a person should look at in the status of a node, and
// what to do about it. Package control answers with it.
package warnings

import (
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/group"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
)

// Warning is something a person should look at.
type Warning struct {
	Code  string    `json:"code"`
	Text  string    `json:"text"`
	Since time.Time `json:"since,omitzero"`
}

// Of returns what a person should look at, not nil. It may be called from any goroutine.
func Of(state node.Status) []Warning {
	warnings := []Warning{}
	for _, a := range state.Alarms {
		warnings = append(warnings, Warning{Code: "part_failing", Text: a.Part + " keeps failing: " + a.Err.Error(), Since: a.Since})
	}
	for _, c := range state.FullConversations {
		warnings = append(warnings, Warning{Code: "contact_full", Text: fmt.Sprintf(
			"The messages of contact %s take most of the disk; new ones are refused until there is space. mimird contact block or remove ends that.", c.Contact().Short())})
	}
	for _, p := range state.KeyProblems {
		warnings = append(warnings, Warning{Code: "key_lost", Text: p.String()})
	}
	for _, a := range state.ForeignNodes {
		warnings = append(warnings, Warning{Code: "announced_elsewhere", Since: a.Since, Text: fmt.Sprintf(
			"Trackers lead to node %s for account %s, with its own signature; somebody may have tricked a device of yours into it, and contacts may look there in vain. If the node is a device of yours, add it to security.own_devices.",
			a.Node, a.Account.Short())})
	}
	for _, a := range state.Suspicions {
		warnings = append(warnings, suspicionWarning(a))
	}
	if state.CrowdedGUIDs > 0 {
		warnings = append(warnings, Warning{Code: "crowded_guids", Text: fmt.Sprintf(
			"%d messages were neither stored nor acknowledged since the start, because the sender's app used one message id for more than %d contents; the log names the contacts.",
			state.CrowdedGUIDs, store.MaxVariants)})
	}
	if state.DiskLow {
		warnings = append(warnings, Warning{Code: "disk_low", Text: "The disk is almost full; no new messages are taken in until there is space."})
	}
	if state.MissedInvites > 0 {
		warnings = append(warnings, Warning{Code: "invites_missed", Text: fmt.Sprintf(
			"%d invites to groups were not stored since the start, because there were too many at once or the store refused them; the people who invited you have to do it again.",
			state.MissedInvites)})
	}
	warnings = append(warnings, listenWarnings(state.Overlay, "yggdrasil.listen")...)
	if state.Tracker != nil {
		warnings = append(warnings, listenWarnings(*state.Tracker, "tracker.listen")...)
	}
	if state.Files != nil {
		warnings = append(warnings, listenWarnings(*state.Files, "files.listen")...)
	}
	up := state.ServerOnly
	for _, p := range state.Overlay.Peers {
		up = up || p.Up
	}
	if up {
		warnings = append(warnings, mediatorWarnings(state.Mediators)...)
	} else {
		warnings = append(warnings, Warning{Code: "offline", Text: "No Yggdrasil peer is connected; messages wait. Is this machine online, and are the peers in the configuration right?"})
	}
	return warnings
}

// mediatorPatience is how long a mediator may be away without a warning: one that restarts
// is back within minutes.
const mediatorPatience = 15 * time.Minute

// mediatorWarnings tells of mediators that are not reached, and that groups need.
func mediatorWarnings(links []group.MediatorStatus) []Warning {
	var warnings []Warning
	for _, m := range links {
		if m.Connected || m.Groups == 0 || time.Since(m.Since) < mediatorPatience {
			continue
		}
		why := ""
		if m.LastError != "" {
			why = " (" + m.LastError + ")"
		}
		warnings = append(warnings, Warning{Code: "mediator_unreachable", Since: m.Since, Text: fmt.Sprintf(
			"Mediator %s is not reached by account %s%s; what is said in %d of its groups waits. The node keeps trying; the operator of the mediator can say whether it is down.",
			m.Mediator.Short(), m.Account.Short(), why, m.Groups)})
	}
	return warnings
}

// listenWarnings tells of the listeners, given under key in the configuration,
// that could not be opened.
func listenWarnings(s overlay.Status, key string) []Warning {
	var warnings []Warning
	for _, uri := range slices.Sorted(maps.Keys(s.ListenErrors)) {
		warnings = append(warnings, Warning{Code: "not_listening", Text: fmt.Sprintf(
			"Nobody can connect to %s (%v); change %s, or free the port: the node retries every few seconds.", uri, s.ListenErrors[uri], key)})
	}
	return warnings
}
