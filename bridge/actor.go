// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/bridge/appservice"
	"github.com/mimird/mimird/bridge/config"
	"github.com/mimird/mimird/bridge/library"
)

// Options say how to bridge.
type Options struct {
	// Config is the section of the configuration file. It needs its secrets, see
	// [GenerateSecrets]. It must not be changed afterwards.
	Config *config.Config
	// Dir is the data directory, for the bridge's own database.
	Dir string
	// Registrations is the directory with the registration files that the homeserver was
	// given, which are compared with the configuration at the start. Empty means that
	// they are not.
	Registrations string
	// Retry is the back-off with which messages that do not reach the homeserver are
	// tried again, and with which the bridge is started again. Other requests are
	// repeated after twice its beginning. The zero value means 1 s to 5 min.
	Retry kernel.Backoff
	// UnreachableAfter is how long the homeserver may take to send back an event of the
	// bridge before the bridge counts as unreachable for it. Zero means 150 s.
	UnreachableAfter time.Duration
}

// New checks the options and returns what makes the bridge actor of a node, for
// kernel.Spec.New. It touches neither disk nor network. It returns [config.ErrNoTokens],
// and [library.ErrNoMatrix] when this program was built without the bridge.
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

// bridgeActor owns the bridge: all of it runs in goroutines of this actor, and
// what fails outside, a homeserver above all, is dealt with there. The actor
// itself fails only when there is a bug.
type bridgeActor struct {
	opts      Options
	node      Node
	condition *condition
}

// taskRun is the goroutine that is the bridge.
const taskRun = "bridge"

// statusReady is a status that was asked for.
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
	a.condition = &condition{state: StateStarting}
	if dir := a.opts.Registrations; dir != "" {
		a.condition.problems = a.opts.Config.RegistrationProblems(dir)
	}
	for _, problem := range a.condition.problems {
		c.Log().Warn("a file of the Matrix bridge is not as it should be", "problem", problem)
	}
	r := &runner{
		opts: a.opts, node: a.node, log: c.Log(), condition: a.condition,
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

// onStatusRequest collects the status in a goroutine, because that reads the
// store.
func (a *bridgeActor) onStatusRequest(c *kernel.Context) {
	to, inbox := c.Sender(), c.Inbox()
	c.Go("status", func(context.Context) error {
		inbox.Tell(statusReady{to: to, status: a.condition.status(a.node)})
		return nil
	})
}

func (a *bridgeActor) onTaskDone(c *kernel.Context, done kernel.TaskDone) {
	if done.Name == taskRun || done.Err != nil {
		c.Fail(fmt.Errorf("%s: %w", done.Name, done.Err))
	}
}
