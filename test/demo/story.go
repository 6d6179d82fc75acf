// SPDX-License-Identifier: MPL-2.0

package demo

import (
	"context"
	"fmt"
	"io"
	"time"
)

// step is one thing that must work before the next is tried.
type step struct {
	title string
	// run returns what there is to say about the outcome, in a few words.
	run func(ctx context.Context) (string, error)
	// limit is how long it may take; it is only ever reached when something is
	// broken.
	limit time.Duration
}

// Told is one step of the story, as it went.
type Told struct {
	Title  string `json:"title"`
	OK     bool   `json:"ok"`
	MS     int64  `json:"ms"`
	Detail string `json:"detail,omitempty"`
}

// tell runs the steps in order and says how each went. It ends at the first one
// that fails.
func tell(ctx context.Context, out io.Writer, steps []step) ([]Told, error) {
	var told []Told
	for i, s := range steps {
		ctx, cancel := context.WithTimeout(ctx, s.limit)
		begin := time.Now()
		detail, err := s.run(ctx)
		took := time.Since(begin)
		cancel()
		tick := "✓"
		if err != nil {
			tick, detail = "✗", err.Error()
		}
		told = append(told, Told{Title: s.title, OK: err == nil, MS: took.Milliseconds(), Detail: detail})
		fmt.Fprintf(out, "%s %2d. %-62s %8s\n", tick, i+1, s.title, took.Round(time.Millisecond))
		if detail != "" {
			fmt.Fprintf(out, "      %s\n", detail)
		}
		if err != nil {
			fmt.Fprintf(out, "\ndemo: %d/%d steps ok\n", i, len(steps))
			return told, fmt.Errorf("step %d, %s: %w", i+1, s.title, err)
		}
	}
	fmt.Fprintf(out, "\ndemo: %d/%d steps ok\n", len(steps), len(steps))
	return told, nil
}

// pollEvery is how often a condition is looked at that nobody tells of.
const pollEvery = 20 * time.Millisecond

// until waits for a condition. An error of the condition is final.
func until(ctx context.Context, what string, condition func() (bool, error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		done, err := condition()
		if err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		if done {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: waited in vain: %w", what, ctx.Err())
		case <-tick.C:
		}
	}
}
