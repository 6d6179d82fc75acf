// SPDX-License-Identifier: MPL-2.0

// Command mutants asks whether the tests would notice. It puts one defect at a
// time into the code, each of a kind that loses or doubles messages or lets the
// wrong people in, and runs the tests that should fail. They must: a defect that
// passes means that a promise of this project is not tested.
//
//	go run ./test/mutants             all defects
//	go run ./test/mutants no-sync     those whose name contains "no-sync"
//
// The working tree is never changed: the compiler is given the changed file with
// -overlay. A defect names the lines it changes, and the command fails when they
// are no longer there.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// patience is for the tests of one defect; one that hangs is caught too.
const patience = 5 * time.Minute

// mutant is one defect.
type mutant struct {
	name string
	// harm says what would happen to people.
	harm string
	file string
	// before stands in the file once; after takes its place.
	before, after string
	// tests are the arguments of go test that should fail.
	tests []string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mutants:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, filters []string) error {
	dir, err := os.MkdirTemp("", "mimird-mutants-")
	if err != nil {
		return fmt.Errorf("make a place for the defects: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	tried, caught := 0, 0
	for _, m := range mutants() {
		if len(filters) > 0 && !slices.ContainsFunc(filters, func(f string) bool { return strings.Contains(m.name, f) }) {
			continue
		}
		tried++
		begun := time.Now()
		noticed, err := m.try(ctx, dir)
		if err != nil {
			return fmt.Errorf("%s: %w", m.name, err)
		}
		verdict := "caught"
		if noticed {
			caught++
		} else {
			verdict = "PASSED: " + m.harm
		}
		fmt.Fprintf(os.Stdout, "%-24s %6s  %s\n", m.name, time.Since(begun).Round(100*time.Millisecond), verdict)
	}
	fmt.Fprintf(os.Stdout, "%d/%d caught\n", caught, tried)
	if caught < tried || tried == 0 {
		return fmt.Errorf("%d of %d defects would not be noticed", tried-caught, tried)
	}
	return nil
}

// try reports whether the tests notice the defect.
func (m mutant) try(ctx context.Context, dir string) (noticed bool, err error) {
	overlay, err := m.overlay(dir)
	if err != nil {
		return false, err
	}
	// A defect that does not compile would look as if it was noticed.
	if out, err := goCommand(ctx, "vet", "-overlay", overlay, "-tags", "goolm", "./"+filepath.Dir(m.file)); err != nil {
		return false, fmt.Errorf("the changed code does not build: %w\n%s", err, out)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	args := append([]string{"test", "-overlay", overlay, "-tags", "goolm", "-count=1", "-failfast"}, m.tests...)
	out, err := goCommand(ctx, args...)
	var failed *exec.ExitError
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return true, nil
	case err == nil:
		if bytes.Contains(out, []byte("no tests to run")) {
			return false, fmt.Errorf("go %s: there are no such tests", strings.Join(args, " "))
		}
		return false, nil
	case errors.As(err, &failed) && (bytes.Contains(out, []byte("--- FAIL")) || bytes.Contains(out, []byte("panic:")) || bytes.Contains(out, []byte("FAIL\t"))):
		return true, nil
	}
	return false, fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
}

// overlay writes the changed file and what tells the compiler of it.
func (m mutant) overlay(dir string) (path string, err error) {
	source, err := os.ReadFile(m.file)
	if err != nil {
		return "", fmt.Errorf("read the code (run this in the folder of go.mod): %w", err)
	}
	if n := strings.Count(string(source), m.before); n != 1 {
		return "", fmt.Errorf("the lines to change stand %d times in %s; they have to be named anew", n, m.file)
	}
	changed := filepath.Join(dir, m.name+".go")
	if err := os.WriteFile(changed, []byte(strings.Replace(string(source), m.before, m.after, 1)), 0o600); err != nil {
		return "", fmt.Errorf("write the changed code: %w", err)
	}
	file, err := filepath.Abs(m.file)
	if err != nil {
		return "", err
	}
	raw, err := json.Marshal(map[string]map[string]string{"Replace": {file: changed}})
	if err != nil {
		return "", err
	}
	path = filepath.Join(dir, m.name+".json")
	return path, os.WriteFile(path, raw, 0o600)
}

func goCommand(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.WaitDelay = 10 * time.Second
	return cmd.CombinedOutput()
}
