// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
)

// friendName is the identity of the node's only contact.
const friendName = "friend"

// reportEvery is how often the node says how it is.
const reportEvery = time.Second

// startReport is the node's first line.
type startReport struct {
	Account identity.PublicKey
	Node    identity.NodeKey
	Listen  string
}

// vitals are the lines that follow.
type vitals struct {
	Number     int64
	Heap       int64 // after a collection
	Lines      int64 // of the log, from info on
	Sessions   int
	Streams    int
	Goroutines int
}

// lineCounter counts the log lines that strangers cause: not those of the contact's
// sessions, nor Yggdrasil's own of neighbours who come and go.
type lineCounter struct {
	slog.Handler
	lines *atomic.Int64
}

func (h lineCounter) Handle(ctx context.Context, r slog.Record) error {
	ours := strings.HasPrefix(strings.ToLower(r.Message), "session ") || r.Message == "report of Yggdrasil"
	r.Attrs(func(a slog.Attr) bool {
		ours = ours && a.Key != "stranger"
		return true
	})
	if !ours {
		h.lines.Add(1)
	}
	return h.Handler.Handle(ctx, r)
}

func (h lineCounter) WithAttrs(a []slog.Attr) slog.Handler {
	return lineCounter{h.Handler.WithAttrs(a), h.lines}
}

func (h lineCounter) WithGroup(g string) slog.Handler {
	return lineCounter{h.Handler.WithGroup(g), h.lines}
}

// beVictim runs the node until it is interrupted.
func beVictim(ctx context.Context) (err error) {
	dir, err := os.MkdirTemp("", "attack")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	var lines atomic.Int64
	opened := make(chan *overlay.Network, 1)
	log := slog.New(lineCounter{slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelInfo}), &lines})
	node, err := node.Open(node.Options{
		Dir: filepath.Join(dir, "node"), Logger: log,
		OpenNetwork: func(key identity.NodePrivateKey) (uplink.Network, error) {
			n, err := overlay.Open(overlay.Options{Key: key, Listen: []string{"tcp://127.0.0.1:0"}, Logger: log})
			if err != nil {
				return nil, err
			}
			if err := errors.Join(n.Enable(overlay.KindQUIC), n.Enable(overlay.KindTCP)); err != nil {
				return nil, errors.Join(err, n.Close())
			}
			opened <- n
			return n, nil
		},
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, node.Close()) }()
	if err := node.Start(ctx); err != nil {
		return err
	}
	defer func() {
		stopCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		err = errors.Join(err, node.Stop(stopCtx))
	}()
	network := <-opened
	account, err := node.CreateAccount(ctx, "victim")
	if err != nil {
		return err
	}
	friend := identity.PublicKey(phone.IdentityOf(friendName).Key())
	if _, err := node.AddContact(ctx, account.ID, identity.Link{Key: friend}); err != nil {
		return err
	}
	out := json.NewEncoder(os.Stdout)
	if err := out.Encode(startReport{Account: account.ID, Node: node.Key(), Listen: network.ListenAddrs()[0]}); err != nil {
		return err
	}
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for number := int64(1); ; number++ {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		status, err := node.Status(ctx)
		if err != nil {
			continue // it ends
		}
		now := vitals{Number: number, Heap: int64(m.HeapAlloc), Lines: lines.Load(), Sessions: status.Sessions, Streams: network.Status().Streams, Goroutines: runtime.NumGoroutine()}
		if err := out.Encode(now); err != nil {
			return err
		}
	}
}
