// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/backup/schedule"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/notify"
	"github.com/mimird/mimird/bridge"
	"github.com/mimird/mimird/config"
	"github.com/mimird/mimird/proto/identity"
)

// told is what notify test prints.
type told struct {
	Sink  string `json:"sink"`
	Error string `json:"error,omitempty" doc:"Why it was not sent"`
}

func newNotify(f *flags) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Try the notifications",
		Long:  "Notifications tell you that something has arrived, or that something is wrong with the node; see docs/notifications.md.",
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "test [SINK]",
		Short: "Send a test notification",
		Long:  "Sends a test notification to a sink of the configuration, or to all of them, at once and also in quiet hours. The\nnode need not run.",
		Args:  cobra.MaximumNArgs(1),
		RunE:  func(cmd *cobra.Command, args []string) error { return testNotify(cmd, f, args) },
	})
	return cmd
}

// testTime is what a test of a sink may take.
const testTime = 30 * time.Second

func testNotify(cmd *cobra.Command, f *flags, names []string) error {
	c, err := f.load()
	if err != nil {
		return err
	}
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(c.Notify))
	}
	if len(names) == 0 {
		return errors.New("there is no sink; the section notify of the configuration names them, see docs/notifications.md")
	}
	var out []told
	failures := 0
	for _, name := range names {
		s, known := c.Notify[name]
		if !known {
			return fmt.Errorf("there is no sink %q in the section notify", clip(name))
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), testTime)
		err := sinkOf(f, name, s).Send(ctx, notify.Notification{Kind: "test", Title: "mimird", Text: "This is a test.", Count: 1, Time: time.Now()})
		cancel()
		t := told{Sink: name}
		if err != nil {
			t.Error = sentenceOf(err)
			failures++
		}
		out = append(out, t)
	}
	err = f.print(cmd.OutOrStdout(), out, func() {
		for _, t := range out {
			if t.Error == "" {
				fmt.Fprintf(cmd.OutOrStdout(), "%s  sent\n", t.Sink)
			} else {
				fmt.Fprintf(cmd.OutOrStdout(), "%s  not sent: %s\n", t.Sink, printable(t.Error))
			}
		}
	})
	if err == nil && failures > 0 {
		err = fmt.Errorf("%d of %d test notifications were not sent", failures, len(out))
	}
	return err
}

// pushKeyName is the file in the data directory with the key that web pushes are signed with.
const pushKeyName = "webpush.key"

// sinkOf makes a sink. Its secrets are read each time, so that a change needs no restart.
func sinkOf(f *flags, name string, s config.NotifySink) notify.Sink {
	from, until, _ := config.QuietHours(s.Quiet) // which the configuration has checked
	sink := notify.Sink{
		Name: name, Kinds: s.Kinds, Content: s.Content, Quiet: notify.Quiet{From: from, Until: until},
		Accounts: keysOf(s.Accounts), Contacts: keysOf(s.Contacts),
	}
	secret := func(path string, make func(secret string) func(context.Context, notify.Notification) error) func(context.Context, notify.Notification) error {
		return func(ctx context.Context, n notify.Notification) error {
			text := ""
			if path != "" {
				var err error
				if text, err = firstLine(f.below(path)); err != nil {
					return err
				}
			}
			return make(text)(ctx, n)
		}
	}
	switch {
	case s.Ntfy != "":
		sink.Send = secret(s.TokenPath, func(token string) func(context.Context, notify.Notification) error { return notify.Ntfy(s.Ntfy, token) })
	case s.Webhook != "":
		sink.Send = secret(s.TokenPath, func(token string) func(context.Context, notify.Notification) error {
			return notify.Webhook(s.Webhook, token)
		})
	case s.UnifiedPush != (config.NotifyPush{}):
		sink.Send = notify.WebPush(notify.Subscription(s.UnifiedPush), f.below(pushKeyName))
	case len(s.Command) > 0:
		sink.Send = notify.Command(s.Command)
	default:
		sink.Send = secret(s.Mail.PasswordPath, func(password string) func(context.Context, notify.Notification) error {
			return notify.Mail{Server: s.Mail.Server, User: s.Mail.User, Password: password, From: s.Mail.From, To: s.Mail.To}.Send
		})
	}
	return sink
}

func keysOf(list []config.Identity) (keys []identity.PublicKey) {
	for _, i := range list {
		keys = append(keys, i.PublicKey)
	}
	return keys
}

// notifyPart makes what sends notifications, and what asks it for its status.
func notifyPart(f *flags, c config.Config) (node.Part, func(context.Context) (any, error)) {
	var running *node.Node
	part := node.Part{Name: notify.PartName, New: func(n *node.Node) kernel.Actor {
		running = n // before the control API, which asks it, is started
		var sinks []notify.Sink
		for _, name := range slices.Sorted(maps.Keys(c.Notify)) {
			sinks = append(sinks, sinkOf(f, name, c.Notify[name]))
		}
		return notify.New(notify.Deps{Dir: f.dir, Node: n, Sinks: sinks, Troubles: func(ctx context.Context) ([]notify.Trouble, error) {
			api := client.New(f.socket(c))
			defer api.Close()
			s, err := api.Status(ctx)
			if err != nil {
				return nil, err
			}
			return troublesOf(s), nil
		}})
	}}
	return part, func(ctx context.Context) (any, error) {
		ref, err := running.Part(ctx, notify.PartName)
		if err != nil {
			return nil, err
		}
		return kernel.Ask[notify.Status](ctx, ref, notify.StatusRequest{})
	}
}

// troublePatience is how long a warning has to last before somebody is told; others are told at
// once.
var troublePatience = map[string]time.Duration{"offline": time.Hour, "part_failing": 10 * time.Minute, "not_listening": 15 * time.Minute}

// troublesOf returns what of a status people should be told.
func troublesOf(s control.Status) (out []notify.Trouble) {
	for _, w := range s.Warnings {
		if w.Code == "crowded_guids" || w.Code == "invites_missed" {
			continue // once told it would stay for ever
		}
		out = append(out, notify.Trouble{Code: w.Code, Text: w.Text, After: troublePatience[w.Code]})
	}
	if len(s.Trackers) > 0 && !slices.ContainsFunc(s.Trackers, func(t control.Tracker) bool { return t.Answers }) {
		out = append(out, notify.Trouble{Code: "trackers_silent", Text: "No tracker answers: contacts may not find this node.", After: time.Hour})
	}
	if b := schedule.ParseStatus(s.Parts[schedule.PartName]); b != nil && b.Problem() != "" {
		out = append(out, notify.Trouble{Code: "backup", Text: b.Problem()})
	}
	var b bridge.Status
	if json.Unmarshal(s.Parts[matrixName], &b) == nil && b.State != "" && (b.State == bridge.StateFailed || b.State == bridge.StateDegraded) {
		out = append(out, notify.Trouble{Code: "bridge", Text: "The Matrix bridge " + bridgeLine(s.Parts[matrixName]) + ".", After: 15 * time.Minute})
	}
	return out
}

// notifyLine says in words how the sinks are.
func notifyLine(part json.RawMessage) string {
	var s notify.Status
	if err := json.Unmarshal(part, &s); err != nil || s.Sinks == nil {
		return "their state is not known"
	}
	var parts []string
	for _, sink := range s.Sinks {
		text := fmt.Sprintf("%s has sent %d", sink.Name, sink.Sent)
		if sink.Failures > 0 {
			text += ", and fails: " + sink.Error
		}
		if sink.Dropped > 0 {
			text += fmt.Sprintf(", %d dropped", sink.Dropped)
		}
		parts = append(parts, text)
	}
	return strings.Join(parts, "; ")
}
