// SPDX-License-Identifier: MPL-2.0

// Command roadmap runs the tests that ROADMAP.md names and prints it with two ticks
// for every line that they prove: in rooms as they are, and in encrypted ones. It
// fails when a ticked line has no passing test for one of them.
//
// Start it in the root of the repository.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	failed, err := run(ctx, os.Stdout)
	stop()
	switch {
	case err != nil:
		fmt.Fprintf(os.Stderr, "roadmap: %v\n", err)
		os.Exit(1)
	case failed > 0:
		fmt.Fprintf(os.Stderr, "roadmap: %d ticked lines are not proven\n", failed)
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer) (failed int, err error) {
	document, err := os.ReadFile("ROADMAP.md")
	if err != nil {
		return 0, err
	}
	lines := parse(document)
	passed, output, err := test(ctx, functions(lines))
	if err != nil {
		return 0, err
	}
	fmt.Fprintln(out, "plain  encrypted")
	for _, l := range lines {
		if !l.item {
			fmt.Fprintln(out, l.text)
			continue
		}
		signs, note := [...]string{" ", " "}, ""
		if l.ticked {
			var missing []string
			for i, kind := range kinds {
				signs[i] = "✓"
				if left := unproven(l, kind, passed); len(left) > 0 {
					signs[i], missing = "✗", append(missing, left...)
				}
			}
			if len(missing) > 0 {
				slices.Sort(missing)
				note = "  (not passed: " + strings.Join(slices.Compact(missing), ", ") + ")"
				failed++
			}
		}
		fmt.Fprintf(out, "  %s        %s      %s%s\n", signs[0], signs[1], l.text, note)
	}
	if failed > 0 {
		fmt.Fprintln(out, "\nWhat the tests said:")
		fmt.Fprint(out, output)
	}
	return failed, nil
}

// kinds are the kinds of rooms that TestRoadmap goes through.
var kinds = [...]string{"plain", "encrypted"}

// walk is the test that runs in every kind of room; what it calls a part of one is
// named in ROADMAP.md without the kind.
const walk = "TestRoadmap/"

// unproven returns the tests of a line that have not passed in a kind of room. At
// least one of them has to be with a real homeserver, in such a room.
func unproven(l line, kind string, passed map[string]bool) []string {
	var missing []string
	walked := false
	for _, name := range l.tests {
		if part, ok := strings.CutPrefix(name, walk); ok {
			name, walked = walk+kind+"/"+part, true
		}
		if !passed[name] {
			missing = append(missing, name)
		}
	}
	if !walked {
		missing = append(missing, "no part of TestRoadmap is named")
	}
	return missing
}

// maxOutput bounds what is kept of what failing tests say.
const maxOutput = 64 << 10

// test runs test functions of the bridge and returns which tests passed, their own
// parts included, and the end of what the others said.
func test(ctx context.Context, functions []string) (passed map[string]bool, output string, err error) {
	//nolint:gosec // the names are of our own file, and have letters and digits alone
	cmd := exec.CommandContext(ctx, "go", "test", "-tags", "goolm", "-json", "-count=1", "-timeout=40m",
		"-run", "^("+strings.Join(functions, "|")+")$", "./bridge/...")
	cmd.Env = append(os.Environ(), "MIMIRD_E2E_ALL=1") // only one of the packages has the flag -all
	cmd.Stderr = os.Stderr
	events, err := cmd.StdoutPipe()
	if err != nil {
		return nil, "", err
	}
	if err := cmd.Start(); err != nil {
		return nil, "", err
	}
	passed = make(map[string]bool)
	said := make(map[string]*strings.Builder)
	scanner := bufio.NewScanner(events)
	scanner.Buffer(nil, 16<<20)
	for scanner.Scan() {
		var event struct{ Action, Test, Output string }
		if json.Unmarshal(scanner.Bytes(), &event) != nil {
			continue
		}
		switch event.Action {
		case "pass":
			passed[event.Test] = true
		case "output":
			if said[event.Test] == nil {
				said[event.Test] = new(strings.Builder)
			}
			said[event.Test].WriteString(event.Output)
		}
	}
	err = scanner.Err()
	_ = cmd.Wait() // which tests passed is known
	for name, text := range said {
		if !passed[name] {
			output += text.String()[max(0, text.Len()-maxOutput):]
		}
	}
	return passed, output, err
}
