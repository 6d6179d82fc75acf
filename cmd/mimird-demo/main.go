// SPDX-License-Identifier: MPL-2.0

// Command mimird-demo shows a whole Mimir world on this machine, step by step: it
// starts, on loopback and in a temporary directory, a Yggdrasil relay, a tracker, a
// mediator, two nodes, a Matrix homeserver and the bridge, and reports what happens between
// them. The first run compiles the homeserver, which takes some minutes and needs the go
// command.
//
//	mimird-demo              the demo, with a mimird compiled from this module
//	mimird-demo -keep        leave everything running at the end
//	mimird-demo -json        print the outcome of each step as JSON
//	mimird-demo -program P   use the mimird at P
//
// It is a program of its own because it contains test helpers: a second implementation
// of the peer protocol and the builder of the homeserver. The story is package demo.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/mimird/mimird/test/demo"
	"github.com/mimird/mimird/test/process"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:], os.Stdout)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "mimird-demo:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	flags := flag.NewFlagSet("mimird-demo", flag.ContinueOnError)
	keep := flags.Bool("keep", false, "leave everything running at the end")
	asJSON := flags.Bool("json", false, "print the outcome of each step as JSON")
	program := flags.String("program", "", "path of a mimird; without it one is compiled")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *program == "" {
		dir, err := os.MkdirTemp("", "mimird-demo-")
		if err != nil {
			return fmt.Errorf("directory for the program: %w", err)
		}
		defer func() { _ = os.RemoveAll(dir) }()
		*program = filepath.Join(dir, "mimird")
		if err := process.BuildMimird(ctx, *program); err != nil {
			return err
		}
	}
	story := out
	if *asJSON {
		story = io.Discard
	}
	told, err := demo.Run(ctx, demo.Options{Program: *program, Out: story, Keep: *keep})
	if *asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		_ = encoder.Encode(told) // the outcome of the demo counts
	}
	return err
}
