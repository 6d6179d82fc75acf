// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"time"
)

// attackers are the process of the strangers. It reads the node's startReport, says
// readyReport when all strangers are in the network, then reads the name of an attack a
// line and says when that has ended.
type attackers struct {
	attacks []string
	in      io.Writer
	out     *bufio.Scanner
	stop    func()
}

// readyReport is the first line of the strangers.
type readyReport struct{ Attacks []string }

// startStrangers starts this program again, as the strangers.
func startStrangers(ctx context.Context, at startReport, keys int, during time.Duration) (*attackers, error) {
	cmd, stop, err := startSelf(ctx, roleStrangers, "-keys", strconv.Itoa(keys), "-during", during.String())
	if err != nil {
		return nil, err
	}
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	a := &attackers{in: in, out: bufio.NewScanner(out), stop: stop}
	var ready readyReport
	err = json.NewEncoder(in).Encode(at)
	if err == nil && !a.out.Scan() {
		err = errors.New("the strangers do not start")
	}
	if err == nil {
		err = json.Unmarshal(a.out.Bytes(), &ready)
	}
	if err != nil {
		stop()
		return nil, err
	}
	a.attacks = ready.Attacks
	return a, nil
}

// begin begins an attack. The channel gets what went wrong when it has ended.
func (a *attackers) begin(name string) (<-chan error, error) {
	if _, err := fmt.Fprintln(a.in, name); err != nil {
		return nil, fmt.Errorf("begin an attack: %w", err)
	}
	ended := make(chan error, 1)
	go func() {
		if !a.out.Scan() {
			ended <- errors.New("the strangers have ended")
			return
		}
		ended <- nil
	}()
	return ended, nil
}

// beStrangers attacks until it is interrupted.
func beStrangers(ctx context.Context, keys int, during time.Duration) error {
	lines := bufio.NewScanner(os.Stdin)
	var at startReport
	if !lines.Scan() {
		return errors.New("no node to attack")
	}
	if err := json.Unmarshal(lines.Bytes(), &at); err != nil {
		return err
	}
	s, err := newStrangers(ctx, at, keys)
	if err != nil {
		return err
	}
	defer s.close()
	all := s.attacks()
	all = append(all, namedAttack{"all_at_once", s.together(all)})
	var ready readyReport
	run := make(map[string]func(context.Context))
	for _, a := range all {
		ready.Attacks = append(ready.Attacks, a.name)
		run[a.name] = a.run
	}
	if err := json.NewEncoder(os.Stdout).Encode(ready); err != nil {
		return err
	}
	names := make(chan string)
	go func() {
		defer close(names)
		for lines.Scan() {
			select {
			case names <- lines.Text():
			case <-ctx.Done():
				return
			}
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return nil
		case name, more := <-names:
			if !more {
				return nil
			}
			attackCtx, end := context.WithTimeout(ctx, during)
			run[name](attackCtx)
			end()
			if _, err := fmt.Fprintln(os.Stdout, name); err != nil {
				return err
			}
		}
	}
}
