// SPDX-License-Identifier: MPL-2.0

// Command bench measures what the project promises about speed. Every figure
// is a ratio against a baseline that is measured in the same run, on the same
// machine, so that it means the same on a laptop and on a busy CI runner.
//
//	go run ./test/bench            all figures
//	go run ./test/bench store      the figures whose name contains "store"
//	go run ./test/bench -profile f and a profile for go tool pprof, tagged with the figure
//
// It prints one line per figure, "bench NAME RATIOx of BASELINE", with ", wanted RATIOx:
// ok|MISSED" behind it where the project wants a certain ratio, and exits with 1 when a
// figure could not be measured.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime/pprof"
	"slices"
	"strings"

	"github.com/mimird/mimird/actors/store"
)

// result is one measured figure.
type result struct {
	// ratio is ours divided by the baseline, arranged so that larger is better.
	ratio float64
	// baseline says in a few words what ratio is relative to.
	baseline string
	// detail shows both absolute numbers, for the reader's sense of scale.
	detail string
}

// figure is one line of the output.
type figure struct {
	name    string
	measure func(ctx context.Context) (result, error)
}

func main() {
	store.SpareProcessor() // as in mimird
	profile := flag.String("profile", "", "write a profile of the processor time to this file, tagged with the figure")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	failed, err := profiled(*profile, func() bool { return run(ctx, flag.Args()) })
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: write profile: %v\n", err)
	}
	if failed {
		os.Exit(1)
	}
}

// profiled calls f and writes a profile of it, if there is a path.
func profiled(path string, f func() bool) (failed bool, err error) {
	if path == "" {
		return f(), nil
	}
	out, err := os.Create(path)
	if err != nil {
		return true, err
	}
	if err := pprof.StartCPUProfile(out); err != nil {
		return true, errors.Join(err, out.Close())
	}
	failed = f()
	pprof.StopCPUProfile()
	return failed, out.Close()
}

func run(ctx context.Context, filters []string) (failed bool) {
	for _, f := range figures() {
		if !selected(f.name, filters) {
			continue
		}
		var r result
		var err error
		pprof.Do(ctx, pprof.Labels("figure", f.name), func(ctx context.Context) { r, err = f.measure(ctx) })
		if err != nil {
			failed = true
			fmt.Fprintf(os.Stderr, "bench %s: %v\n", f.name, err)
			continue
		}
		fmt.Fprintf(os.Stdout, "bench %s %.2fx of %s%s\n", f.name, r.ratio, r.baseline, verdict(f.name, r.ratio))
		fmt.Fprintf(os.Stderr, "      %s\n", r.detail)
	}
	return failed
}

// wanted are the ratios that the project wants of itself. Others are only printed.
var wanted = map[string]float64{
	"quic-rtt":                  0.85,
	"tcp-rtt":                   0.6,
	"matrix-arrival":            1,
	"group-arrival":             0.8,
	"mediator-fanout":           0.7,
	"mediator-fanout-processor": 0.7,
	"mediator-accept":           0.7,
	"panics-others":             0.5,

	"nodes-1-conversation":    1,
	"nodes-100-conversations": 0.4,

	"bridge-backlog":   0.6,
	"bridge-processor": 0.5,
	"bridge-rooms":     0.5,
}

// verdict compares a ratio with the wanted one, if there is one. Missing it is not a
// failure: how fast a busy machine is says little.
func verdict(name string, ratio float64) string {
	want, known := wanted[name]
	switch {
	case !known:
		return ""
	case ratio >= want:
		return fmt.Sprintf(", wanted %.2fx: ok", want)
	}
	return fmt.Sprintf(", wanted %.2fx: MISSED", want)
}

// figures lists every figure in the order it is printed.
func figures() []figure {
	return slices.Concat(
		storeFigures(),
		streamFigures(),
		sessionFigures(),
		nodesFigures(),
		matrixFigures(),
		backlogFigures(),
		mediatorFigures(),
		panicFigures(),
	)
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

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
