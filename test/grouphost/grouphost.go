// SPDX-License-Identifier: MPL-2.0

package grouphost

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mimird/mimird/proto/group"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/test/poll"
	"github.com/mimird/mimird/test/process"
)

// Options say what the mediator has.
type Options struct {
	// Dir is an empty directory for its store and its log.
	Dir string
	// Peer is where a Yggdrasil node listens, which the mediator's is connected to.
	Peer string
	// Account is a member of every group.
	Account identity.PublicKey
	// Groups have so many members each, the account and the owner included, and so many
	// messages, which the members wrote in turn.
	Groups, Members, Messages int
}

// Host is a running mediator.
type Host struct {
	process *process.Process
	key     identity.NodeKey
}

// variable holds, in the environment of the mediator's process, its order.
const variable = "MIMIRD_TEST_GROUP_HOST"

// order is what the process of the mediator is told.
type order struct {
	Options
	Seed [32]byte // of the mediator's node key
}

// ready is what the process says then, fillTime bounds how long that takes.
const (
	ready    = "the mediator is ready"
	fillTime = 10 * time.Minute
)

// Start starts the mediator and returns when it has all groups and can be reached. The caller
// calls Stop.
func Start(ctx context.Context, opts Options) (*Host, error) {
	o := order{Options: opts}
	_, _ = rand.Read(o.Seed[:]) // never fails
	text, err := json.Marshal(o)
	if err != nil {
		return nil, err
	}
	program, err := os.Executable()
	if err != nil {
		return nil, err
	}
	h := &Host{key: identity.NewNodePrivateKey(o.Seed).Key()}
	h.process, err = process.Start(process.Spec{
		Program: program, Env: []string{variable + "=" + string(text)}, Log: filepath.Join(opts.Dir, "log"),
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, fillTime)
	defer cancel()
	ended := func() bool {
		select {
		case <-h.process.Ended():
			return true
		default:
			return false
		}
	}
	said := func() bool { return strings.Contains(h.process.LogTail(), ready) }
	if !poll.Until(ctx, func() bool { return said() || ended() }) || !said() {
		return nil, errors.Join(fmt.Errorf("mediator process is not ready: %s", h.process.LogTail()), ctx.Err(), h.process.Stop())
	}
	return h, nil
}

// Key is the key of the mediator.
func (h *Host) Key() identity.NodeKey { return h.key }

// Process is the process of the mediator.
func (h *Host) Process() *process.Process { return h.process }

// Stop ends the mediator.
func (h *Host) Stop() error { return h.process.Stop() }

// Chat is the id of a group at the mediator.
func Chat(i int) mediator.ChatID { return mediator.ChatID(i + 1) }

// GroupKey is the key of a group.
func GroupKey(i int) group.Key { return group.KeyOf([group.KeySize]byte{byte(i >> 8), byte(i), 1}) }

// Text is a message of a group.
func Text(i, message int) string {
	return fmt.Sprintf("message %d of group %d: see you at eight at the harbour, bring the blue folder and a jacket, it is going to rain", message, i)
}
