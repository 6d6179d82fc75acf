// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"context"
	"errors"
	"strings"
	"time"

	"github.com/mimird/mimird/test/dendrite"
	"github.com/mimird/mimird/test/process"
)

// buildPatience is for the first use on a machine: Dendrite is compiled.
const buildPatience = 10 * time.Minute

// address finds an address on loopback where nobody listens; its port goes into
// VAR_PORT too.
func (w *world) address(args []string) error {
	if len(args) != 1 {
		return errors.New("usage: address VAR")
	}
	address, err := process.FreeAddress(context.Background())
	if err != nil {
		return err
	}
	w.ts.Setenv(args[0], address)
	_, port, _ := strings.Cut(address, ":")
	w.ts.Setenv(args[0]+"_PORT", port)
	return nil
}

// dendrite starts the script's homeserver, again when it runs, so that it knows
// these registrations and no others.
func (w *world) dendrite(args []string) error {
	if len(args) < 1 {
		return errors.New("usage: dendrite ADDRESS REGISTRATION...")
	}
	if w.homeserver != nil {
		if err := w.homeserver.Stop(); err != nil {
			return err
		}
	}
	o := dendrite.Options{Dir: w.ts.MkAbs("dendrite"), Address: args[0]}
	for _, file := range args[1:] {
		o.Registrations = append(o.Registrations, w.ts.MkAbs(file))
	}
	ctx, cancel := context.WithTimeout(context.Background(), buildPatience)
	defer cancel()
	server, err := dendrite.Start(ctx, o)
	if err != nil {
		return err
	}
	w.homeserver = server
	w.ts.Defer(func() { _ = server.Kill() })
	return nil
}

// user makes a user of the homeserver.
func (w *world) user(args []string) error {
	if len(args) != 1 || w.homeserver == nil {
		return errors.New("usage: user NAME, after dendrite")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return w.homeserver.CreateUser(ctx, args[0], "long-secret", false)
}
