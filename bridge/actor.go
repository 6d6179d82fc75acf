// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/botcommands"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/library"
)

// Options are the parameters of [New].
type Options struct {
	// Config is the section of the configuration file, with its secrets (see
	// [config.GenerateSecrets]). The caller must not change it afterwards.
	Config *config.Config
	// Version is that of the program, for the command version.
	Version string
	// Search finds messages for the command search, nil without an index.
	Search botcommands.Search
	// Dir is the data directory, for the bridge's own database.
	Dir string
	// Registrations is the directory with the registration files that the homeserver was
	// given. The bridge compares them with the configuration when it starts, unless it is
	// empty.
	Registrations string
	// Retry is the back-off of deliveries that fail, and of restarts of the bridge. Other
	// requests are retried after twice its minimum. The zero value means 1 s to 5 min.
	Retry kernel.Backoff
	// UnreachableAfter is the time within which the homeserver must push an event of the
	// bridge back to it, or else the bridge counts as unreachable for it. Zero means 150 s.
	UnreachableAfter time.Duration
}

// New checks the options and returns the constructor of a node's bridge actor, for
// kernel.Spec.New. It uses neither disk nor network. It returns the errors of
// [config.Config.Validate], [config.ErrNoTokens], and [library.ErrNoMatrix] when this
// program was built without the bridge.
func New(opts Options) (func(Node) kernel.Actor, error) {
	if err := opts.Config.Validate(); err != nil {
		return nil, err
	}
	if err := opts.Config.CheckSecrets(); err != nil {
		return nil, err
	}
	if _, _, err := library.New(opts.Config.Library(), false, nil); err != nil {
		return nil, err
	}
	if opts.Retry.Min == 0 {
		opts.Retry.Min = defaultRetryMin
	}
	if opts.Retry.Max == 0 {
		opts.Retry.Max = max(defaultRetryMax, opts.Retry.Min)
	}
	if opts.UnreachableAfter == 0 {
		opts.UnreachableAfter = appservice.DefaultUnreachableAfter
	}
	library.Prepare()
	return func(node Node) kernel.Actor { return &bridgeActor{opts: opts, node: node} }, nil
}

// bridgeActor owns the bridge, which runs in goroutines of this actor. They handle every
// failure of the homeserver and the network. The actor itself fails only because of a bug.
type bridgeActor struct {
	opts Options
	node Node
	live *liveStatus
}

// taskRun is the name of the goroutine of the [runner].
const taskRun = "bridge"

// statusReady is the answer to a [StatusRequest].
type statusReady struct {
	to     kernel.Ref
	status Status
}

// Started implements [kernel.Starter].
func (a *bridgeActor) Started(c *kernel.Context) error {
	least := slog.LevelInfo
	if err := least.UnmarshalText([]byte(a.opts.Config.Logging.MinLevel)); err != nil {
		return kernel.Fatal(err)
	}
	a.live = &liveStatus{state: StateStarting}
	if dir := a.opts.Registrations; dir != "" {
		a.live.problems = a.opts.Config.RegistrationProblems(dir)
	}
	for _, problem := range a.live.problems {
		c.Log().Warn("registration file of the bridge not usable", "err", problem)
	}
	r := &runner{
		opts: a.opts, node: a.node, log: c.Log(), live: a.live,
		library: library.NewLogger(c.Log(), least, a.opts.Config.SecretValues()),
	}
	c.Go(taskRun, r.run)
	return nil
}

// Receive implements [kernel.Actor].
func (a *bridgeActor) Receive(c *kernel.Context, msg any) {
	switch m := msg.(type) {
	case StatusRequest:
		a.onStatusRequest(c)
	case statusReady:
		c.Tell(m.to, m.status)
	case kernel.TaskDone:
		a.onTaskDone(c, m)
	default:
		c.Log().Warn("unexpected message", "type", fmt.Sprintf("%T", msg))
	}
}

// onStatusRequest collects the status in a goroutine, because that reads the store.
func (a *bridgeActor) onStatusRequest(c *kernel.Context) {
	to, inbox := c.Sender(), c.Inbox()
	c.Go("status", func(context.Context) error {
		inbox.Tell(statusReady{to: to, status: a.live.status(a.node)})
		return nil
	})
}

// onTaskDone fails the actor when a goroutine has failed, or when the runner has ended.
func (a *bridgeActor) onTaskDone(c *kernel.Context, done kernel.TaskDone) {
	if done.Name == taskRun || done.Err != nil {
		c.Fail(fmt.Errorf("%s: %w", done.Name, done.Err))
	}
}
