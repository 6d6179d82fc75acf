// SPDX-License-Identifier: MPL-2.0

// Command growth measures how costs grow with what a node has: at 10,000, 100,000 and
// 1,000,000 messages in 10, 1,000 and 10,000 conversations.
//
//	go run ./test/growth              all figures
//	go run ./test/growth check        the figures whose name contains "check"
//	go run ./test/growth -most 100000 no larger than that
//	go run ./test/growth -profile f   and a profile for go tool pprof, tagged with the figure
//
// It prints one line per figure, "bench NAME COST at MESSAGES, ... per ITEM ... ok|MISSED":
// the cost of one item at each size, and the exponent of the growth of the whole cost between the
// last two sizes, 1 when it is linear. It exits with 1 when a figure could not be
// measured, when its exponent is above 1.1, or when a search takes longer than wanted.
//
// Costs are processor time, of this process in user and kernel mode, so they mean the
// same on a busy machine. What the disk needs is not among them.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"os/signal"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mimird/mimird/test/grouphost"
)

// maxExponent is the growth from which on a cost is not linear any more.
const maxExponent = 1.1

// size is how much a node has.
type size struct{ messages, conversations int }

// sizes are measured in this order.
func sizes() []size {
	return []size{{10_000, 10}, {100_000, 1000}, {1_000_000, 10_000}}
}

// measurement is the cost of the whole at a size.
type measurement struct {
	size
	cost time.Duration
}

// figure is one line of the output.
type figure struct {
	name string
	// item says what the cost is divided by: messages or conversations, or nothing for one
	// call or search.
	item string
	// wanted is the cost of one item at the largest size.
	wanted time.Duration
	// sizes are at which it is measured, nil for those of all. At its own sizes the rig has
	// only a directory.
	sizes []size
	// measure returns the cost of the whole at the size of the rig.
	measure func(ctx context.Context, r *rig) (time.Duration, error)
}

func figures() []figure {
	return slices.Concat(storeFigures(), searchFigures(), groupFigures())
}

func main() {
	if served, err := grouphost.Serve(); served {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	most := flag.Int("most", math.MaxInt, "the largest number of messages")
	profile := flag.String("profile", "", "write a profile of the processor time of the measurements to this file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	failed := true
	err := profiled(*profile, func() { failed = run(ctx, flag.Args(), *most) })
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: write profile: %v\n", err)
	}
	if failed {
		os.Exit(1)
	}
}

// profiled calls f and writes a profile of it, if there is a path.
func profiled(path string, f func()) error {
	if path == "" {
		f()
		return nil
	}
	out, err := os.Create(path)
	if err != nil {
		return err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return errors.Join(err, out.Close())
	}
	f()
	pprof.StopCPUProfile()
	return out.Close()
}

func run(ctx context.Context, filters []string, most int) (failed bool) {
	var chosen []figure
	for _, f := range figures() {
		if selected(f.name, filters) {
			chosen = append(chosen, f)
		}
	}
	measured := make(map[string][]measurement)
	measure := func(s size, own bool, figures []figure) error {
		if s.messages > most || len(figures) == 0 {
			return nil
		}
		if err := measureAll(ctx, s, own, figures, measured); err != nil {
			return fmt.Errorf("%d messages: %w", s.messages, err)
		}
		return nil
	}
	var common []figure
	var errs []error
	for _, f := range chosen {
		for _, s := range f.sizes {
			errs = append(errs, measure(s, true, []figure{f}))
		}
		if f.sizes == nil {
			common = append(common, f)
		}
	}
	for _, s := range sizes() {
		errs = append(errs, measure(s, false, common))
	}
	if err := errors.Join(errs...); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		failed = true
	}
	for _, f := range chosen {
		if len(measured[f.name]) == 0 {
			continue // smaller than its sizes was asked for, or it failed
		}
		line, ok := f.report(measured[f.name])
		fmt.Fprintln(os.Stdout, line)
		failed = failed || !ok
	}
	return failed
}

func selected(name string, filters []string) bool {
	if len(filters) == 0 {
		return true
	}
	for _, f := range filters {
		if strings.Contains(name, f) {
			return true
		}
	}
	return false
}

// measureAll builds a node's data of a size, unless the figures have their own, and adds the
// cost of each figure there. It goes on after a figure that fails.
func measureAll(ctx context.Context, s size, own bool, chosen []figure, measured map[string][]measurement) (err error) {
	dir, err := makeDir()
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	r := &rig{size: s, dir: filepath.Join(dir, "node")}
	if !own {
		if r, err = newRig(ctx, r.dir, s); err != nil {
			return err
		}
	}
	var errs []error
	for _, f := range chosen {
		var cost time.Duration
		var err error
		pprof.Do(ctx, pprof.Labels("figure", f.name), func(ctx context.Context) { cost, err = f.measure(ctx, r) })
		if err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", f.name, err))
			continue
		}
		fmt.Fprintf(os.Stderr, "      %s with %d messages in %d conversations: %v\n", f.name, s.messages, s.conversations, cost.Round(10*time.Microsecond))
		measured[f.name] = append(measured[f.name], measurement{s, cost})
	}
	return errors.Join(errs...)
}

// items is what the costs at a size are divided by.
func (f figure) items(s size) float64 {
	switch f.item {
	case "conversation":
		return float64(s.conversations)
	case "message":
		return float64(s.messages)
	}
	return 1
}

// report returns the line of a figure, and false when it grows too fast.
func (f figure) report(measured []measurement) (line string, ok bool) {
	var b strings.Builder
	fmt.Fprintf(&b, "bench %s", f.name)
	for i, m := range measured {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, " %s at %d", perItem(float64(m.cost)/f.items(m.size)), m.messages)
	}
	fmt.Fprintf(&b, " per %s, wanted %s", f.item, perItem(float64(f.wanted)))
	last := measured[len(measured)-1]
	ok = float64(last.cost)/f.items(last.size) <= float64(f.wanted)
	before := measured[max(0, len(measured)-2)]
	if f.items(last.size) > f.items(before.size) {
		exponent := math.Log(float64(last.cost)/float64(before.cost)) / math.Log(f.items(last.size)/f.items(before.size))
		fmt.Fprintf(&b, ", exponent %.2f, wanted %.1f", exponent, maxExponent)
		if exponent > maxExponent {
			return b.String() + ": MISSED", false
		}
	}
	if !ok {
		return b.String() + ": MISSED", f.item != "search" && f.item != "call"
	}
	return b.String() + ": ok", true
}

// perItem writes a cost in microseconds, with more digits when it is small.
func perItem(nanoseconds float64) string {
	if nanoseconds < 100 {
		return fmt.Sprintf("%.5fus", nanoseconds/1e3)
	}
	return fmt.Sprintf("%.2fus", nanoseconds/1e3)
}

// makeDir makes a directory on a real disk: the system's temporary directory is often
// memory.
func makeDir() (string, error) {
	parent := os.Getenv("TMPDIR")
	if parent == "" {
		parent = ".cache"
		if err := os.MkdirAll(parent, 0o750); err != nil {
			return "", err
		}
	}
	return os.MkdirTemp(parent, "growth-")
}

// A measurement is repeated so often, and for so much processor time, at least.
const (
	repeats   = 3
	repeatFor = time.Second
)

// cost returns the processor time that f needs, the smallest of several calls.
func cost(f func() error) (least time.Duration, err error) {
	for n, total := 0, time.Duration(0); n < repeats || total < repeatFor; n++ {
		took, err := once(f)
		if err != nil {
			return 0, err
		}
		if n == 0 || took < least {
			least = took
		}
		total += max(took, time.Millisecond)
	}
	return least, nil
}

// once returns the processor time of one call, at least a microsecond, which is what the
// system counts in.
func once(f func() error) (time.Duration, error) {
	begun, err := processorTime()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	ended, err := processorTime()
	return max(ended-begun, time.Microsecond), err
}

// processorTime is what this process has used so far.
func processorTime() (time.Duration, error) {
	var usage unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &usage); err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), nil
}
