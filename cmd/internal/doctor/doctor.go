// SPDX-License-Identifier: MPL-2.0

// Package doctor looks at everything that can be wrong with a node, from the outside, and
// says of each thing what was seen, what it means and what to do. mimird doctor calls it,
// with the node running or not. It changes nothing: what it asks and dials is given to it
// as functions, so that each broken set-up can be tested.
//
// Start reading at [Diagnose].
package doctor

import (
	"context"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/config"
)

// Result is the outcome of a check.
type Result string

// The results of checks.
const (
	OK      Result = "ok"
	Warning Result = "warning" // the node works, with limitations
	Failed  Result = "failed"
	Skipped Result = "skipped" // a check before it failed, or there is nothing to check
)

// Check is the outcome of one check of [Diagnose].
type Check struct {
	Name   string `json:"name"`
	Result Result `json:"result"`
	Found  string `json:"found" doc:"What was seen"`
	Means  string `json:"means,omitempty" doc:"What that means"`
	Remedy string `json:"remedy,omitempty" doc:"What to do about it"`
}

// Disk is the space on the disk of the data directory, in bytes.
type Disk struct{ Free, Total uint64 }

// Clock is what the system knows of its clock.
type Clock struct {
	Now time.Time
	// Synchronised says whether the system keeps the clock right; it is known on Linux.
	Synchronised, Known bool
}

// Outside is what a second node, which the doctor starts for a moment, reaches over the
// network.
type Outside struct {
	// Connected says whether the second node has a peer.
	Connected bool
	// Node, Trackers and Files say for the node itself, the trackers in the order of the
	// configuration, and the file server of the configuration whether they could be
	// dialled; nil is success.
	Node     error
	Trackers []error
	Files    error
}

// Options is what the doctor looks at. The functions are called at most once each, one
// after another, and may block as long as their context.
type Options struct {
	// Dir is the data directory, Config the configuration, and ConfigErr why it could not
	// be read; the other checks are skipped then.
	Dir       string
	Config    config.Config
	ConfigErr error
	// Status asks the running node; client.ErrNotRunning when none runs.
	Status func(context.Context) (control.Status, error)
	// Contacts asks the running node for the contacts of an account, by its key.
	Contacts func(ctx context.Context, account string) ([]control.Contact, error)
	// Store opens the store of a node that does not run, and returns what is wrong with
	// its keys.
	Store func() (keys []string, err error)
	// Disk measures the disk of the data directory.
	Disk func() (Disk, error)
	// Clock reads the clock.
	Clock func() Clock
	// DialPeer connects to the address of a Yggdrasil peer and closes the connection.
	DialPeer func(ctx context.Context, uri string) error
	// Outside starts a second node and tries to reach what is in the question; see [Look].
	Outside func(context.Context, Question) (Outside, error)
	// Bridge checks the Matrix bridge.
	Bridge func(context.Context) []Check
	// Report, if set, is called with each check when it has ended.
	Report func(Check)
}

// Diagnose runs all checks, in order, and returns their outcomes. It returns early when
// ctx ends.
func Diagnose(ctx context.Context, o Options) []Check {
	d := &run{Options: o}
	for _, check := range []struct {
		name string
		do   func(context.Context) []Check
		need *bool // set by a check before this one
	}{
		{"configuration", d.configuration, nil},
		{"clock", d.clock, nil},
		{"disk", d.disk, nil},
		{"data directory", d.directory, &d.configured},
		{"node", d.node, &d.configured},
		{"store", d.store, &d.configured},
		{"keys", d.keys, &d.opened},
		{"yggdrasil", d.yggdrasil, &d.configured},
		{"outside", d.outside, &d.configured},
		{"trackers", d.trackers, &d.configured},
		{"file server", d.fileServer, &d.configured},
		{"roles", d.roles, &d.runs},
		{"contacts", d.contacts, &d.runs},
		{"backups", d.backups, &d.runs},
		{"node says", d.warnings, &d.runs},
		{"bridge", d.bridge, &d.configured},
	} {
		results := []Check{{Result: Skipped, Found: "cannot be looked at before what is above is right"}}
		if check.need == nil || *check.need {
			results = check.do(ctx)
		}
		if ctx.Err() != nil {
			break
		}
		for _, result := range results {
			if result.Name == "" {
				result.Name = check.name
			}
			d.checks = append(d.checks, result)
			if o.Report != nil {
				o.Report(result)
			}
		}
	}
	return d.checks
}

// run is one run of [Diagnose].
type run struct {
	Options
	checks []Check

	configured bool // the configuration can be read
	runs       bool // the node answers
	opened     bool // the store can be read
	status     control.Status
	lost       []string // what is wrong with the keys
	reached    *Outside // what the second node has reached, nil when it was not started
	online     bool     // some peer is up
}

func ok(found string) []Check { return []Check{{Result: OK, Found: found}} }

func skipped(found string) []Check { return []Check{{Result: Skipped, Found: found}} }

func failed(found, means, remedy string) []Check {
	return []Check{{Result: Failed, Found: found, Means: means, Remedy: remedy}}
}

func warning(found, means, remedy string) []Check {
	return []Check{{Result: Warning, Found: found, Means: means, Remedy: remedy}}
}
