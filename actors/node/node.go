// SPDX-License-Identifier: MPL-2.0

package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"

	"github.com/mimird/mimird/actors/answering"
	"github.com/mimird/mimird/actors/contact"
	"github.com/mimird/mimird/actors/forward"
	"github.com/mimird/mimird/actors/group"

	"github.com/mimird/mimird/actors/session"

	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/keyring"
	"github.com/mimird/mimird/actors/resolver"
	"github.com/mimird/mimird/actors/retention"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/actors/transfer"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
)

const (
	storeDirName = "store"
	mediaDirName = "media"
	filesDirName = "files"
	// recordingsDirName is the directory of recorded calls without a message.
	recordingsDirName = "calls"
)

// Node is one Mimir node: its accounts, their contacts, everything they say. Its
// methods are for goroutines outside actors, and safe for concurrent use.
//
// Make it with [Open], run it with [Node.Start], end it with [Node.Stop] and
// [Node.Close]. Between Open and Start it can be read already.
type Node struct {
	opts Options
	// readOnly is a node of OpenReadOnly, which is never started.
	readOnly bool
	store    *store.Store
	keys     *keyring.Ring

	// What the actors share; Open makes it.
	net, trackerNet, filesNet, mediatorNet *uplink.Cell // of the node and of its roles
	contacts                               *contact.Table
	groups                                 *group.Table
	// contactNodes are the node keys of accepted contacts.
	contactNodes *contact.Nodes
	sessions     *session.Table
	files        *transfer.Service
	retention    *retention.Service
	answering    *answering.Machine
	foreign      *resolver.ForeignNodes
	trackersV1   *resolver.TrackersV1
	// strangerLog has every log line whose number a stranger decides.
	strangerLog *strangerlog.Log

	system *kernel.System
	root   kernel.Ref
	writer atomic.Pointer[kernel.Ref]
	// resolver is zero before Start, and in a process that is a server only.
	resolver kernel.Ref
	// running says that the actors have been started and not all stopped.
	running atomic.Bool

	failOnce sync.Once
	failed   chan struct{}
	failErr  error
}

// Open opens the data directory: keys, created at the first start, and store.
//
// Errors: store.ErrInUse when another process has it open, store.ErrCorrupt, the
// others of store.Open, and [ErrNodeKey].
func Open(opts Options) (*Node, error) {
	opts = opts.withDefaults()
	if opts.Dir == "" || opts.OpenNetwork == nil && opts.Tracker == nil && opts.Files == nil && opts.Mediator == nil {
		return nil, errors.New("open node: Dir is required, and something to do")
	}
	if err := durable.MkdirAll(opts.Dir); err != nil {
		return nil, fmt.Errorf("make data directory: %w", err)
	}
	n := &Node{opts: opts, failed: make(chan struct{})}
	// The store holds the lock of the directory, so it comes before the keys.
	s, err := opts.OpenStore(store.Options{
		Dir: filepath.Join(opts.Dir, storeDirName), Logger: opts.Logger,
		OutboxRows: uint64(opts.MaxOutbox), OnFatal: n.fail, Now: opts.Now,
	})
	if err != nil {
		return nil, err
	}
	if err := removeSnapshots(opts.Dir); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := n.openKeys(s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := n.openParts(s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return n, nil
}

// openParts opens what the actors share.
func (n *Node) openParts(s *store.Store) (err error) {
	opts, keys := n.opts, n.keys
	for _, t := range opts.Trackers {
		keys.Know(t.Node)
	}
	keys.Know(opts.OwnDevices...)
	keys.Know(opts.Media.Server)
	keys.Know(opts.Mediators...)
	n.store = s
	n.net, n.trackerNet, n.filesNet, n.mediatorNet = new(uplink.Cell), new(uplink.Cell), new(uplink.Cell), new(uplink.Cell)
	n.strangerLog = strangerlog.New(opts.Logger)
	n.trackersV1 = resolver.NewTrackersV1(opts.TrackersV1)
	n.groups = group.NewTable()
	n.contacts, n.sessions = contact.NewTable(), session.NewTable(opts.MaxSessions, n.strangerLog)
	if err := n.contactNodes.Load(s); err != nil {
		return err
	}
	if n.foreign, err = resolver.OpenForeignNodes(s, keys); err != nil {
		return err
	}
	n.files, err = transfer.Open(transfer.Deps{
		Dir: filepath.Join(opts.Dir, mediaDirName), Store: s, Writer: n.storeActor, Key: keys.Account, Guard: keys, Network: n.net,
		Log: opts.Logger, Now: opts.Now, ReadOnly: n.readOnly, Options: opts.Media,
	})
	n.answering = answering.New(answering.Deps{
		Dir: filepath.Join(opts.Dir, recordingsDirName), Store: s, Writer: n.storeActor, Files: n.files, Log: opts.Logger, Now: opts.Now,
		Options: opts.Answering,
	})
	n.retention = retention.New(retention.Deps{
		Store: s, Writer: n.storeActor, Now: opts.Now, Policy: opts.Retention, WholeLog: []string{forward.Consumer},
		Only: func(id identity.PublicKey) (map[string][]store.ConversationID, error) {
			answered, err := forward.Follows(s, id)
			return map[string][]store.ConversationID{forward.AnswerConsumer: answered}, err
		},
	})
	if err != nil || n.readOnly {
		return err
	}
	if err := syncDataDir(opts.Dir); err != nil {
		return errors.Join(err, n.files.Close())
	}
	return nil
}

// syncDataDir makes durable that the data directory and what was created in it exist.
// The command creates the directory itself.
func syncDataDir(dir string) error {
	if err := durable.SyncDir(dir); err != nil {
		return err
	}
	return durable.SyncParent(dir)
}

// Start starts the actors and returns when all of them are there. It does not
// wait for the network.
func (n *Node) Start(ctx context.Context) error {
	if n.readOnly {
		return errReadOnly
	}
	n.system = kernel.NewSystem(kernel.Options{Logger: n.opts.Logger, BeforeReceive: n.opts.BeforeReceive})
	root, err := n.system.Spawn(kernel.Spec{
		Name: "node", Kind: "node",
		New: func() kernel.Actor {
			return &nodeActor{node: n, failing: make(map[string]failing), closed: make(map[string]kernel.Ref)}
		},
	})
	if err != nil {
		return fmt.Errorf("start node: %w", err)
	}
	n.root = root
	n.running.Store(true)
	if _, err := kernel.Ask[ready](ctx, root, readyRequest{}); err != nil {
		return fmt.Errorf("start node: %w", err)
	}
	return nil
}

// Failed returns a channel that is closed when the node cannot go on: its store
// has failed. Stop it then, and end the process; Err says why.
func (n *Node) Failed() <-chan struct{} { return n.failed }

// Err returns why the node has failed, nil while it has not.
func (n *Node) Err() error {
	select {
	case <-n.failed:
		return n.failErr
	default:
		return nil
	}
}

func (n *Node) fail(err error) {
	n.failOnce.Do(func() {
		n.failErr = err
		close(n.failed)
	})
}

// Key returns the node key, the address of this node in the overlay.
// It is zero when the key cannot be read, which only a node of [OpenReadOnly] lets
// pass.
func (n *Node) Key() identity.NodeKey { return n.keys.RoleKey(keyring.RoleNode) }

// TrackerKey returns the node key of the tracker role; false without that role.
func (n *Node) TrackerKey() (identity.NodeKey, bool) {
	key := n.keys.RoleKey(keyring.RoleTracker)
	return key, !key.IsZero()
}

// filesDir is where the files of the file server are.
func (n *Node) filesDir() string { return filepath.Join(n.opts.Dir, filesDirName) }

// FilesKey returns the node key of the file server that this node is: what others
// put into their configuration. It returns false without that role.
func (n *Node) FilesKey() (identity.NodeKey, bool) {
	key := n.keys.RoleKey(keyring.RoleFiles)
	return key, !key.IsZero()
}

// MediatorKey returns the node key of the mediator that this node is: where groups are
// created. It returns false without that role.
func (n *Node) MediatorKey() (identity.NodeKey, bool) {
	key := n.keys.RoleKey(keyring.RoleMediator)
	return key, !key.IsZero()
}

// nowMillis returns the wall clock in the unit of the wire and of the store. It is for
// what is stored: the clock may jump, and nothing may wait for it.
func (n *Node) nowMillis() store.Millis { return store.MillisOf(n.opts.Now()) }

// do has the store actor carry out an operation. Once told, the store cannot be told
// to leave it: so the answer is waited for also when ctx is cancelled meanwhile, as a
// request is when the node stops. Who is told "cancelled" would do it again.
func do[R any](ctx context.Context, n *Node, op store.Op) (R, error) {
	var none R
	writer := n.writer.Load()
	if writer == nil {
		return none, ErrNotRunning
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	result, err := store.Do[R](context.WithoutCancel(ctx), *writer, op)
	if errors.Is(err, kernel.ErrStopped) {
		return none, fmt.Errorf("%w: %w", ErrNotRunning, err)
	}
	return result, err
}

// storeActor is the actor that writes to the store, zero before the node is started.
func (n *Node) storeActor() kernel.Ref {
	if writer := n.writer.Load(); writer != nil {
		return *writer
	}
	return kernel.Ref{}
}

// tell sends a message to the root when there is one.
func (n *Node) tell(msg any) {
	if !n.root.IsZero() {
		n.root.Tell(msg)
	}
}
