// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/backup/schedule"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/notify"
	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/bridge"
)

func newStatus(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show how the running node is",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return answer(f, cmd, func(api *client.Client) (control.Status, error) {
				return api.Status(cmd.Context())
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
	for _, m := range s.Mediators {
		fmt.Fprintf(w, "mediator\t%s\t%s\n", short(m.Mediator), printable(mediatorLine(m, s.Accounts)))
	}
	if s.Role != nil {
		fmt.Fprintf(w, "tracker role\t%s%s\n", s.Role.Address, alone(s.Role.Links))
	}
	if s.FilesRole != nil {
		fmt.Fprintf(w, "file server role\t%s%s\n", s.FilesRole.Key, alone(s.FilesRole.Links))
	}
	if m := s.MediatorRole; m != nil {
		fmt.Fprintf(w, "mediator role\t%s%s\n", m.Key, alone(m.Links))
		fmt.Fprintf(w, "\t%d groups, %d messages, %s\t%d clients of %d identities\n", m.Groups, m.Messages, humanize.IBytes(m.Bytes), m.Clients, m.Identities)
	}
	for _, a := range s.Accounts {
		fmt.Fprintf(w, "account\t%s\t%s\t%d waiting\n", printable(a.Name), a.ID, a.Waiting)
	}
	fmt.Fprintf(w, "sessions\t%d\n", s.Sessions)
	for _, u := range s.Undelivered {
		fmt.Fprintf(w, "undelivered\t%s\n", undeliveredLine(u))
	}
	if r := s.Retention; r != nil {
		fmt.Fprintf(w, "retention\t%s\n", printable(retentionLine(*r)))
	}
	for _, name := range slices.Sorted(maps.Keys(s.Parts)) {
		text := string(s.Parts[name])
		switch name {
		case matrixName:
			text = bridgeLine(s.Parts[name])
		case notify.PartName:
			text = notifyLine(s.Parts[name])
		case schedule.PartName:
			text = backupsLine(s.Parts[name], time.Now())
		}
		fmt.Fprintf(w, "%s\t%s\n", printable(name), printable(text))
	}
	for _, warning := range s.Warnings {
		fmt.Fprintf(w, "warning\t%s\n", printable(warning.Text))
	}
	for _, text := range slices.Concat(bridgeWarnings(s.Parts[matrixName]), backupsWarnings(s)) {
		fmt.Fprintf(w, "warning\t%s\n", printable(text))
	}
}

// retentionLine says what was removed since the start, and what keeps the rest.
func retentionLine(r retention.Report) string {
	text := fmt.Sprintf("%d messages and %d events removed since the start, the last look was at %s", r.Messages, r.Events, r.Last.Local().Format(time.DateTime))
	if len(r.Holders) > 0 {
		text += "; more goes when " + strings.Join(r.Holders, " and ") + " has dealt with it"
	}
	if r.Error != "" {
		text += "; it ended early: " + r.Error
	}
	return text
}

// bridgeLine says in words how the bridge is.
func bridgeLine(part json.RawMessage) string {
	var failure struct {
		Error string `json:"error"`
		State string `json:"state"`
	}
	var b bridge.Status
	if err := json.Unmarshal(part, &failure); err != nil || failure.State == "" || json.Unmarshal(part, &b) != nil {
		return "its state is not known: " + cmp.Or(failure.Error, "the answer cannot be read")
	}
	counts := []string{plural(b.Logins, "login", "logins")}
	if b.Transactions > 0 {
		counts = append(counts, plural(b.Transactions, "event", "events")+" from Matrix not handled yet")
	}
	if b.Conversations > 0 {
		counts = append(counts, plural(b.Conversations, "conversation", "conversations")+" with events for Matrix")
	}
	tail := "; " + strings.Join(counts, ", ")
	switch b.State {
	case bridge.StateRunning:
		return "works both ways" + tail
	case bridge.StateDegraded:
		var parts []string
		if !b.Homeserver.OK {
			parts = append(parts, "the homeserver does not answer"+sinceWhy(b.Homeserver.Since, b.Homeserver.Error))
		}
		if !b.Listener.OK {
			parts = append(parts, "the homeserver does not reach the bridge"+sinceWhy(b.Listener.Since, b.Listener.Error))
		}
		return strings.Join(parts, "; ") + tail + "; see: mimird matrix doctor"
	case bridge.StateFailed:
		return "does not run" + sinceWhy(b.Since, b.Error) + "; it is started again by itself"
	case bridge.StateStarting:
		return "is starting" + sinceWhy(b.Since, b.Error)
	}
	return string(b.State) + tail
}

func sinceWhy(since time.Time, why string) string {
	text := ""
	if !since.IsZero() {
		text = " since " + since.Local().Format(time.DateTime)
	}
	if why != "" {
		text += ": " + why
	}
	return text
}

func plural(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

// bridgeWarnings returns what of the bridge's status a person should look at: rooms that
// messages have not reached for a minute, encryption that should be and cannot, and rooms
// in which what was written does not get on. Without a bridge there is nothing.
func bridgeWarnings(part json.RawMessage) (lines []string) {
	var b bridge.Status
	if json.Unmarshal(part, &b) != nil {
		return nil
	}
	lines = append(lines, b.Problems...)
	for _, w := range b.Waiting {
		if w.Error == "" || time.Since(w.Since) < time.Minute {
			continue
		}
		lines = append(lines, fmt.Sprintf("%d events for the room of %s (%s) since %s: %s. %s",
			w.Events, w.Name, cmp.Or(string(w.Room), "no room yet"), w.Since.Local().Format(time.DateTime), w.Error, w.Remedy))
	}
	if b.Encryption.Error != "" {
		lines = append(lines, b.Encryption.Error)
	}
	for _, room := range b.Inbound {
		line := fmt.Sprintf("%d events of the Matrix room %s wait since %s", room.Events, room.Room, room.Since.Local().Format(time.DateTime))
		if room.Error != "" {
			line += ": " + room.Error
		}
		lines = append(lines, line)
	}
	return lines
}

// mediatorLine says how the connection of an account to a mediator is. The account is named
// when there are several.
func mediatorLine(m control.MediatorLink, accounts []control.Account) string {
	text := "not connected" + sinceWhy(m.Since, m.Error)
	if m.Connected {
		text = "connected since " + m.Since.Local().Format(time.DateTime)
	}
	text += ", " + plural(m.Groups, "group", "groups")
	if i := slices.IndexFunc(accounts, func(a control.Account) bool { return a.ID == m.Account }); i >= 0 && len(accounts) > 1 {
		text += " of " + accounts[i].Name
	}
	if left := time.Until(m.NextAttempt); left > 0 && !m.Connected {
		text += ", next attempt in " + left.Round(time.Second).String()
	}
	return text
}

// undeliveredLine says for whom messages are undelivered, and why.
func undeliveredLine(u control.Undelivered) string {
	name := printable(u.Name)
	if u.Group != "" {
		name = "the group " + cmp.Or(strings.TrimSpace(name), groupStart(u.Group)) // a name may be spaces alone
	}
	text := fmt.Sprintf("%d for %s since %s: %s", u.Messages, name, u.Since.Local().Format(time.DateTime), printable(u.Why))
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

// alone says that nobody reaches a server that this process is.
func alone(links int) string {
	if links > 0 {
		return ""
	}
	return "   not connected to any Yggdrasil node"
}
