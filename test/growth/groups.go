// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	groupactor "github.com/mimird/mimird/actors/group"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/test/grouphost"
	"github.com/mimird/mimird/test/poll"
)

const (
	// groupMembers are in each group.
	groupMembers = 200
	// maxHistoryMemory is how much more memory the reading may take, in bytes.
	maxHistoryMemory = 64 << 20
	// historyTime bounds how long the reading takes on a busy machine.
	historyTime = 10 * time.Minute
	// ticksPerSecond is what Linux counts processor time in.
	ticksPerSecond = 100
)

// groupFigures measure a node that joins groups with a history: 100,000 messages in 50
// groups of 200 members are to be complete within 60 seconds on two cores, the mediator
// included.
func groupFigures() []figure {
	return []figure{{
		"growth-group-history", "message", 1200 * time.Microsecond,
		[]size{{10_000, 5}, {100_000, 50}},
		measureGroupHistory,
	}}
}

// measureGroupHistory measures the processor time of both the node and the mediator, which
// is another process on loopback, until the node has stored everything and all members.
func measureGroupHistory(ctx context.Context, r *rig) (took time.Duration, err error) {
	opened := make(chan *overlay.Network, 1)
	n, err := node.Open(node.Options{
		Dir: r.dir,
		OpenNetwork: func(key identity.NodePrivateKey) (uplink.Network, error) {
			network, err := overlay.Open(overlay.Options{Key: key, Listen: []string{"tcp://127.0.0.1:0"}})
			if err == nil {
				opened <- network
			}
			return network, err
		},
	})
	if err != nil {
		return 0, err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		err = errors.Join(err, n.Stop(ctx), n.Close())
	}()
	if err := n.Start(ctx); err != nil {
		return 0, err
	}
	account, err := n.CreateAccount(ctx, "growth")
	if err != nil {
		return 0, err
	}
	mediator := r.dir + ".mediator"
	if err := os.Mkdir(mediator, 0o700); err != nil {
		return 0, err
	}
	perGroup := r.messages / r.conversations
	host, err := grouphost.Start(ctx, grouphost.Options{
		Dir: mediator, Peer: (<-opened).ListenAddrs()[0], Account: account.ID,
		Groups: r.conversations, Members: groupMembers, Messages: perGroup,
	})
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, host.Stop()) }()
	debug.FreeOSMemory()
	h := &historyReader{node: n, account: account.ID, host: host, groups: make([]store.ConversationID, r.conversations)}
	hostBefore, err := processorTimeOf(host.Process().PID())
	if err != nil {
		return 0, err
	}
	var memory int64
	begun := time.Now()
	own, err := once(func() (err error) {
		memory, err = memoryOf(ctx, func() error { return h.read(ctx) })
		return err
	})
	wall := time.Since(begun)
	if err != nil {
		return 0, err
	}
	hostAfter, err := processorTimeOf(host.Process().PID())
	if err != nil {
		return 0, err
	}
	fmt.Fprintf(os.Stderr, "      %d messages in %d groups are there after %v; the node used %v of processor time and %d MiB more memory, the mediator %v\n",
		r.messages, r.conversations, wall.Round(10*time.Millisecond), own.Round(10*time.Millisecond), memory>>20, hostAfter-hostBefore)
	if memory > maxHistoryMemory {
		return 0, fmt.Errorf("the history of %d groups took %d MiB of memory, wanted %d", r.conversations, memory>>20, maxHistoryMemory>>20)
	}
	return own + hostAfter - hostBefore, h.check(perGroup)
}

// historyReader is a node that reads the history of groups.
type historyReader struct {
	node    *node.Node
	account identity.PublicKey
	host    *grouphost.Host
	groups  []store.ConversationID
}

// read joins the groups and returns when they are complete.
func (h *historyReader) read(ctx context.Context) (err error) {
	for i := range h.groups {
		h.groups[i], err = h.node.AddGroup(ctx, node.KnownGroup{
			Account: h.account, Mediator: h.host.Key(), Chat: int64(grouphost.Chat(i)), Key: grouphost.GroupKey(i).Bytes(), Name: "group",
		})
		if err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, historyTime)
	defer cancel()
	complete := 0 // the first so many
	all := poll.Until(ctx, func() bool {
		for complete < len(h.groups) && err == nil {
			var done bool
			if done, err = h.complete(h.groups[complete]); !done {
				return err != nil
			}
			complete++
		}
		return true
	})
	if err == nil && !all {
		err = fmt.Errorf("%d of %d groups are complete: %w", complete, len(h.groups), ctx.Err())
	}
	return err
}

// complete reports whether a group has its history, and all members with their names but
// our own.
func (h *historyReader) complete(group store.ConversationID) (bool, error) {
	if h.node.GroupProgress(h.account, group).Stage != groupactor.StageLive {
		return false, nil
	}
	named := 0
	for m, err := range h.node.GroupMembers(h.account, group) {
		if err != nil {
			return false, err
		}
		if m.Name != "" {
			named++
		}
	}
	return named >= groupMembers-1, nil
}

// check fails when a message is missing, altered or out of order.
func (h *historyReader) check(perGroup int) error {
	for i, group := range h.groups {
		texts, after := 0, uint64(0)
		for {
			page, err := h.node.ConversationMessagesAfter(h.account, group, after, 0)
			if err != nil {
				return err
			}
			if len(page) == 0 {
				break
			}
			for _, m := range page {
				after = m.Order
				if m.Type != int32(peer.TypeText) {
					continue
				}
				if want := grouphost.Text(i, texts); string(m.Payload) != want {
					return fmt.Errorf("group %d has %q, not %q", i, m.Payload, want)
				}
				texts++
			}
		}
		if texts != perGroup {
			return fmt.Errorf("group %d has %d of %d messages", i, texts, perGroup)
		}
	}
	return nil
}

// processorTimeOf is what a process has used so far.
func processorTimeOf(pid int) (time.Duration, error) {
	raw, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0, fmt.Errorf("read processor time: %w", err)
	}
	// Behind the name, in parentheses, the times in user and kernel mode are the 12th
	// and 13th field.
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	var ticks int64
	for _, i := range []int{11, 12} {
		if i >= len(fields) {
			return 0, errors.New("read processor time: fields are missing")
		}
		n, err := strconv.ParseInt(fields[i], 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read processor time: %w", err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / ticksPerSecond, nil
}
