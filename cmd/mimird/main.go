// SPDX-License-Identifier: MPL-2.0

// Command mimird is an always-on node of the Mimir peer-to-peer messenger: it
// receives while phones sleep, and can show the conversations in Matrix.
//
//	mimird up        run the node; the first start makes everything
//	mimird --help    all commands
//
// The commands are one file each. They build on the packages below actors and
// bridge, which are documented for use by other programs.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/cmd/internal/update"
)

// Exit codes. They are part of the interface: service managers act on them.
const (
	exitFine     = 0
	exitError    = 1
	exitConfig   = 2 // the configuration or the mode of a key is wrong; starting again does not help
	exitDamaged  = 3 // the store is damaged, or a key is lost
	exitDiskFull = 4 // the disk is full
	exitInUse    = 5 // another process has the data directory open
	exitNewer    = 6 // a newer version has written the data directory
	exitWaiting  = 7 // --wait has run out: the message or request is safe, and the node repeats it
	exitUpdate   = 8 // there is a newer version
	exitRejected = 9 // the release list was rejected
)

// standardOutput and standardError are where the program writes. A service of Windows has
// other ones.
var standardOutput, standardError io.Writer = os.Stdout, os.Stderr

// stopRequested is closed when a service manager that sends no signals stops the program.
var stopRequested = make(chan struct{})

func main() {
	os.Exit(asService(func() int { return run(os.Args[1:], standardOutput, standardError) }))
}

// run executes one command line and returns the exit code.
func run(args []string, stdout, stderr io.Writer) int {
	keepPrivate()
	ctx, stop := untilSignal()
	defer stop()
	root, f := newRoot()
	root.SetArgs(guidsLast(root, args))
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(ctx)
	if err != nil {
		printError(stderr, err, f.json || slices.Contains(args, "--json"))
	}
	return exitCode(err)
}

// failure is an error as it is printed with --json, on standard error.
type failure struct {
	Error    string `json:"error"`
	Code     string `json:"code"`
	ExitCode int    `json:"exit_code"`
}

// printError prints an error as one sentence, or as one JSON object.
func printError(w io.Writer, err error, asJSON bool) {
	if !asJSON {
		fmt.Fprintf(w, "mimird: %s\n", explain(err))
		return
	}
	line, _ := json.Marshal(failure{Error: explain(err), Code: codeOfError(err), ExitCode: exitCode(err)}) // strings always marshal
	fmt.Fprintf(w, "%s\n", line)
}

// guidsLast puts a negative number after mimird trace, which a guid may be, behind a
// "--": without it, it would be flags, and no flag of ours is a digit.
func guidsLast(root *cobra.Command, args []string) []string {
	command, _, err := root.Find(args)
	if err != nil || command.Name() != "trace" || slices.Contains(args, "--") {
		return args
	}
	var others, guids []string
	for i, arg := range args {
		_, err := strconv.ParseInt(arg, 10, 64)
		if err == nil && strings.HasPrefix(arg, "-") && (i == 0 || !wantsValue(command, args[i-1])) {
			guids = append(guids, arg)
			continue
		}
		others = append(others, arg)
	}
	if guids == nil {
		return args
	}
	return slices.Concat(others, []string{"--"}, guids)
}

// wantsValue reports whether what follows an argument is its value.
func wantsValue(command *cobra.Command, arg string) bool {
	name, ok := strings.CutPrefix(arg, "--")
	flag := command.Flag(name)
	return ok && flag != nil && flag.NoOptDefVal == ""
}

// untilSignal returns a context that ends with the first signal. A second one
// ends the process at once: its sender has decided not to wait, and nothing
// that was accepted is lost.
func untilSignal() (context.Context, func()) {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		select {
		case <-signals:
			cancel()
		case <-stopRequested:
			cancel()
		case <-done:
			return
		}
		select {
		case <-signals:
			os.Exit(exitError)
		case <-done:
		}
	}()
	return ctx, func() {
		signal.Stop(signals)
		close(done)
		cancel()
	}
}

// configError marks an error in the configuration.
type configError struct{ error }

func (e configError) Unwrap() error { return e.error }

// codeOfError names an error for programs; docs/commands.md lists the names.
func codeOfError(err error) string {
	switch {
	case errors.Is(err, client.ErrNotRunning):
		return "not_running"
	case errors.Is(err, context.Canceled):
		return "interrupted"
	}
	var refused *client.Error
	switch code := exitCode(err); {
	case code != exitError:
		return codeNames[code]
	case errors.As(err, &refused):
		return "refused"
	}
	return codeNames[exitError]
}

// codeNames are the names of exit codes.
var codeNames = map[int]string{
	exitError: "error", exitConfig: "configuration", exitDamaged: "damaged", exitDiskFull: "disk_full", exitInUse: "in_use",
	exitNewer: "newer_version", exitWaiting: "undelivered",
	exitUpdate: "update_available", exitRejected: "list_rejected",
}

func exitCode(err error) int {
	var wrong configError
	switch {
	case err == nil:
		return exitFine
	case errors.As(err, &wrong), errors.Is(err, node.ErrExposed):
		return exitConfig
	case errors.Is(err, store.ErrInUse):
		return exitInUse
	case errors.Is(err, store.ErrNewerSchema):
		return exitNewer
	case errors.Is(err, store.ErrCorrupt), errors.Is(err, node.ErrNodeKey):
		return exitDamaged
	case errors.Is(err, store.ErrDiskFull), errors.Is(err, syscall.ENOSPC):
		return exitDiskFull
	case errors.Is(err, errWaiting), errors.Is(err, errTaskWaiting):
		return exitWaiting
	case errors.Is(err, errUpdate):
		return exitUpdate
	case errors.Is(err, update.ErrRejected):
		return exitRejected
	}
	return exitError
}

// explain adds to an error what to do about it.
func explain(err error) string {
	text := sentenceOf(err)
	switch {
	case errors.Is(err, client.ErrNotRunning):
		text += "; start it with: mimird up"
	case errors.Is(err, store.ErrInUse):
		text += "; mimird is running there already: stop it first, or choose another directory with --data. " +
			"If it is check, export or backup, wait for its end"
	case errors.Is(err, store.ErrNewerSchema):
		text += "; nothing has been changed: install that version or a newer one"
	case errors.Is(err, store.ErrCorrupt):
		text += "; nothing has been changed: copy the data directory to a safe place before trying anything"
	case errors.Is(err, node.ErrNodeKey):
		text += "; bring the file back from a backup (mimird restore), or go on with another key, under which contacts have to find this node anew: mimird up --new-node-key"
	case errors.Is(err, store.ErrOlderSchema):
		text += "; start the node once, which upgrades it: mimird up"
	case errors.Is(err, store.ErrDiskFull), errors.Is(err, syscall.ENOSPC):
		text += "; make space and start again, nothing is lost"
	case errors.Is(err, update.ErrUnreachable):
		text += "; nothing was changed: try again when there is a network"
	case errors.Is(err, update.ErrRejected):
		text += "; nothing was changed: if it stays so, ask those who publish mimird before you install anything"
	case errors.Is(err, context.Canceled):
		text = "interrupted"
	}
	return text
}

// sentenceOf puts the lines of joined errors into one, each once: what has ended
// the node is often told again by what is closed after it. A list, which has a
// heading, stays a list.
func sentenceOf(err error) string {
	if heading, _, list := strings.Cut(err.Error(), ":\n"); list && !strings.Contains(heading, "\n") {
		return err.Error()
	}
	var parts []string
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" && !slices.Contains(parts, line) {
			parts = append(parts, line)
		}
	}
	return strings.Join(parts, "; ")
}
