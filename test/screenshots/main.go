// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"time"
)

// limit is how long all of it may take once the homeserver is built.
const limit = 10 * time.Minute

func main() {
	o := options{}
	flag.StringVar(&o.node, "mimird", "bin/mimird", "the node")
	flag.StringVar(&o.client, "gomuks", os.Getenv("GOMUKS"), "the Matrix client, gomuks with its web front end (or $GOMUKS)")
	flag.StringVar(&o.browser, "chromium", os.Getenv("CHROMIUM"), "the browser; empty looks for it (or $CHROMIUM)")
	flag.StringVar(&o.out, "out", "docs/pictures", "the directory for the pictures")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	err := run(ctx, o)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "screenshots:", err)
		os.Exit(1)
	}
}

// options are what the command line says.
type options struct {
	node, client, browser string
	out                   string
}

func run(ctx context.Context, o options) (err error) {
	for name, program := range map[string]*string{"mimird": &o.node, "gomuks": &o.client} {
		if *program, err = filepath.Abs(*program); err != nil {
			return err
		}
		if info, err := os.Stat(*program); err != nil || info.IsDir() {
			return fmt.Errorf("no program %s at %q, see -%s", name, *program, name)
		}
	}
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "mimird-screenshots-")
	if err != nil {
		return err
	}
	w := &world{dir: dir, program: o.node}
	defer func() { err = errors.Join(err, w.end()) }()

	if err := w.buildHomeserver(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for _, s := range []struct {
		title string
		run   func(context.Context) error
	}{
		{"nodes", w.startNodes},
		{"homeserver", w.startHomeserver},
		{"bridge", w.login},
		{"conversation", w.talk},
		{"contact request", w.request},
		{"groups", w.groups},
		{"pictures", func(ctx context.Context) error { return w.takePictures(ctx, o) }},
		{"page", func(ctx context.Context) error { return w.takePage(ctx, o) }},
		{"terminal", func(ctx context.Context) error { return w.takeTerminal(ctx, o) }},
	} {
		begin := time.Now()
		if err := s.run(ctx); err != nil {
			return fmt.Errorf("%s: %w", s.title, err)
		}
		fmt.Fprintf(os.Stdout, "%-16s %8s\n", s.title, time.Since(begin).Round(time.Millisecond))
	}
	return nil
}
