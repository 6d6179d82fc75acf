// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/bridge"
)

func newStatus(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the running node is",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return answer(f, cmd, func(client *control.Client) (control.Status, error) {
				return client.Status(cmd.Context())
			}, printStatus)
		},
	}
}

func printStatus(out io.Writer, s control.Status) {
	w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	defer func() { _ = w.Flush() }() // what it writes to reports its own errors
	fmt.Fprintf(w, "mimird\t%s\n", s.Version)
	fmt.Fprintf(w, "node\t%s\t%s\n", s.Node, s.Address)
	up := 0
	for _, p := range s.Overlay.Peers {
		if p.Up {
			up++
		}
	}
	spares := ""
	if n := len(s.Overlay.Spares); n > 0 {
		spares = fmt.Sprintf(", %d more in reserve", n)
	}
	fmt.Fprintf(w, "yggdrasil\t%d/%d peers up%s\n", up, len(s.Overlay.Peers), spares)
	for _, p := range s.Overlay.Peers {
		state := "down  " + p.Error
		if p.Up {
			state = fmt.Sprintf("up    %.1f ms", p.LatencyMS)
		}
		fmt.Fprintf(w, "\t%s\t%s\n", p.URI, state)
	}
	for _, t := range s.Trackers {
		state := "does not answer"
		if t.Answers {
			state = fmt.Sprintf("answers in %.1f ms", t.LatencyMS)
		}
		if time.Until(t.Announced) > 0 {
			state += ", announced until " + t.Announced.Local().Format(time.TimeOnly)
		}
		fmt.Fprintf(w, "tracker\t%s\t%s\n", short(t.Address), state)
	}
	for _, t := range s.OldTrackers {
		state := "not asked yet"
		switch {
		case t.Error != "":
			state = "the last question failed: " + t.Error
		case t.Answers:
			state = "answered at " + t.Last.Local().Format(time.TimeOnly)
		}
		fmt.Fprintf(w, "tracker v1\t%s\t%s\n", short(t.Address), printable(state))
	}
	if s.Role != nil {
		fmt.Fprintf(w, "tracker role\t%s\n", s.Role.Address)
	}
	if s.FilesRole != nil {
		fmt.Fprintf(w, "file server role\t%s\n", s.FilesRole.Key)
	}
	if m := s.MediatorRole; m != nil {
		fmt.Fprintf(w, "mediator role\t%s\n", m.Key)
		fmt.Fprintf(w, "\t%d groups, %d messages, %s\t%d clients of %d identities\n", m.Groups, m.Messages, humanize.IBytes(m.Bytes), m.Clients, m.Identities)
	}
	for _, a := range s.Accounts {
		fmt.Fprintf(w, "account\t%s\t%s\t%d waiting\n", printable(a.Name), a.ID, a.Waiting)
	}
	fmt.Fprintf(w, "sessions\t%d\n", s.Sessions)
	for _, u := range s.Undelivered {
		fmt.Fprintf(w, "undelivered\t%s\n", undeliveredLine(u))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Parts)) {
		fmt.Fprintf(w, "%s\t%s\n", printable(name), printable(string(s.Parts[name])))
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "warning\t%s\n", printable(warning.Text))
	}
	for _, text := range stuckRooms(s.Parts[matrixName]) {
		fmt.Fprintf(w, "warning\t%s\n", printable(text))
	}
	if text := notEncrypted(s.Parts[matrixName]); text != "" {
		fmt.Fprintf(w, "warning\t%s\n", printable(text))
	}
	for _, text := range inboundRooms(s.Parts[matrixName]) {
		fmt.Fprintf(w, "warning\t%s\n", printable(text))
	}
}

// inboundRooms names the Matrix rooms in which what was written does not get on.
func inboundRooms(part json.RawMessage) (lines []string) {
	var state bridge.Status
	if json.Unmarshal(part, &state) != nil {
		return nil
	}
	for _, room := range state.Inbound {
		line := fmt.Sprintf("%d events of the Matrix room %s wait since %s", room.Events, room.Room, room.Since.Local().Format(time.DateTime))
		if room.Error != "" {
			line += ": " + room.Error
		}
		lines = append(lines, line)
	}
	return lines
}

// stuckRooms returns what the bridge's status says of rooms that messages have not
// reached for a minute.
func stuckRooms(part json.RawMessage) (lines []string) {
	var state bridge.Status
	if json.Unmarshal(part, &state) != nil { // there is no bridge, or it does not answer
		return nil
	}
	for _, w := range state.Waiting {
		if w.Error == "" || time.Since(w.Since) < time.Minute {
			continue
		}
		lines = append(lines, fmt.Sprintf("%d events for the room of %s (%s) since %s: %s. %s",
			w.Events, w.Name, cmp.Or(string(w.Room), "no room yet"), w.Since.Local().Format(time.DateTime), w.Error, w.Remedy))
	}
	return lines
}

// notEncrypted returns what the bridge's status says of encryption that should be and
// cannot.
func notEncrypted(part json.RawMessage) string {
	var state bridge.Status
	if json.Unmarshal(part, &state) != nil { // there is no bridge, or it does not answer
		return ""
	}
	return state.Encryption.Error
}

// undeliveredLine says for whom messages are undelivered, and why.
func undeliveredLine(u control.Undelivered) string {
	text := fmt.Sprintf("%d for %s since %s: %s", u.Messages, printable(u.Name), u.Since.Local().Format(time.DateTime), printable(u.Why))
	if left := time.Until(u.NextAttempt); left > 0 {
		text += ", next attempt in " + left.Round(time.Second).String()
	}
	return text
}

// short shows the beginning of a long hex address.
func short(s string) string {
	const most = 12
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}
