// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
	"github.com/vbauerster/mpb/v8/cwriter"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/cmd/internal/watch"
)

// topRows is how many conversations with undelivered messages are shown.
const topRows = 5

var errNotReady = errors.New("the node is not ready")

func newHealth(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "health",
		Short: "Say whether the node does its work",
		Long: "Asks the running node whether it does its work: it reaches the network and is found there, takes in what\n" +
			"arrives, and its Matrix bridge works in both directions. It fails when not, with the reasons. For the health\n" +
			"check of a container; over TCP the same is at /readyz, see metrics.listen in the configuration.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var h watch.Health
			err := answer(f, cmd, func(api *client.Client) (watch.Health, error) {
				status, err := api.Status(cmd.Context())
				h = watch.HealthOf(status)
				return h, err
			}, func(out io.Writer, h watch.Health) {
				if h.Ready {
					fmt.Fprintln(out, "ready")
				}
			})
			if err == nil && !h.Ready {
				err = fmt.Errorf("%w: %s; see: mimird doctor", errNotReady, printable(strings.Join(h.Reasons, "; ")))
			}
			return err
		},
	}
}

func newTop(f *flags) *cobra.Command {
	var every time.Duration
	var once bool
	cmd := &cobra.Command{
		Use:   "top",
		Short: "Watch the node work",
		Long: "Shows peers, trackers, sessions, what is undelivered, space and the busiest parts of the node, again and again\n" +
			"until it is interrupted. Off a terminal, and with --once, it prints that once.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if every < 100*time.Millisecond {
				return errors.New("--every: want a duration of at least 100ms")
			}
			return watchNode(cmd, f, every, once)
		},
	}
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "how often to look")
	cmd.Flags().BoolVar(&once, "once", false, "print once")
	return cmd
}

// view is what top shows, and what it prints with --json.
type view struct {
	Time   time.Time        `json:"time"`
	Health watch.Health     `json:"health"`
	Status control.Status   `json:"status"`
	Actors []control.Actors `json:"actors"`
}

func watchNode(cmd *cobra.Command, f *flags, every time.Duration, once bool) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	defer api.Close()
	out := cmd.OutOrStdout()
	terminal, isFile := out.(*os.File)
	if once || f.json || !isFile || !isTerminal(out) {
		v, err := look(cmd.Context(), api)
		if err != nil {
			return err
		}
		return f.print(out, v, func() { _, _ = io.WriteString(out, topText(v, view{})) }) // what it writes to reports its own errors
	}
	screen := cwriter.New(terminal)
	again := time.NewTicker(every)
	defer again.Stop()
	for before := (view{}); ; {
		v, err := look(cmd.Context(), api)
		if errors.Is(err, context.Canceled) {
			return nil
		}
		if err != nil {
			return err
		}
		text := topText(v, before)
		before = v
		_, _ = screen.WriteString(text) // into memory
		if err := screen.Flush(strings.Count(text, "\n")); err != nil {
			return fmt.Errorf("print: %w", err)
		}
		select {
		case <-cmd.Context().Done():
			return nil
		case <-again.C:
		}
	}
}

func look(ctx context.Context, api *client.Client) (v view, err error) {
	v.Time = time.Now()
	if v.Status, err = api.Status(ctx); err != nil {
		return v, err
	}
	v.Health = watch.HealthOf(v.Status)
	v.Actors, err = api.Actors(ctx)
	return v, err
}

// topText is the screen. Rates are since the view before, if there is one.
func topText(v, before view) string {
	var b strings.Builder
	state := "ready"
	if !v.Health.Ready {
		state = "not ready: " + strings.Join(v.Health.Reasons, "; ")
	}
	fmt.Fprintf(&b, "mimird %s  %s  %s\n", v.Status.Version, v.Time.Format(time.TimeOnly), printable(cut(state)))
	up, rx, tx := 0, uint64(0), uint64(0)
	for _, p := range v.Status.Overlay.Peers {
		if p.Up {
			up++
		}
		rx, tx = rx+p.RX, tx+p.TX
	}
	answering := 0
	for _, t := range v.Status.Trackers {
		if t.Answers {
			answering++
		}
	}
	waiting := 0
	for _, a := range v.Status.Accounts {
		waiting += a.Waiting
	}
	fmt.Fprintf(&b, "peers %d/%d  received %s  sent %s  trackers %d/%d  sessions %d  undelivered %d\n",
		up, len(v.Status.Overlay.Peers), humanize.IBytes(rx), humanize.IBytes(tx), answering, len(v.Status.Trackers), v.Status.Sessions, waiting)
	if m := v.Status.Media; m != nil {
		fmt.Fprintf(&b, "files %s of %s\n", humanize.IBytes(uint64(max(m.Used, 0))), humanize.IBytes(uint64(max(m.Quota, 0))))
	}
	if raw, has := v.Status.Parts[matrixName]; has {
		fmt.Fprintf(&b, "matrix  %s\n", printable(cut(bridgeLine(raw))))
	}
	for i, u := range v.Status.Undelivered {
		if i == topRows {
			fmt.Fprintf(&b, "  and %d more conversations\n", len(v.Status.Undelivered)-i)
			break
		}
		fmt.Fprintf(&b, "  %s\n", cut(undeliveredLine(u)))
	}
	b.WriteString("\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "actors\tlive\tmessages/s\twaiting\tfailed\tbusy\t\n")
	for _, a := range busiest(v.Actors) {
		rate, busy := "-", "-"
		if i := slices.IndexFunc(before.Actors, func(o control.Actors) bool { return o.Kind == a.Kind }); i >= 0 {
			if seconds := v.Time.Sub(before.Time).Seconds(); seconds > 0 {
				rate = fmt.Sprintf("%.1f", float64(a.Messages-before.Actors[i].Messages)/seconds)
				busy = fmt.Sprintf("%.1f%%", 100*(a.Busy-before.Actors[i].Busy)/seconds)
			}
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%d\t%d\t%s\t\n", a.Kind, a.Live, rate, a.Waiting, a.Failures, busy)
	}
	_ = w.Flush() // into memory
	return b.String()
}

// busiest returns the kinds of actors, those that worked most first.
func busiest(actors []control.Actors) []control.Actors {
	sorted := slices.Clone(actors)
	slices.SortStableFunc(sorted, func(a, b control.Actors) int {
		switch {
		case a.Busy > b.Busy:
			return -1
		case a.Busy < b.Busy:
			return 1
		}
		return 0
	})
	return sorted[:min(len(sorted), 10)]
}
