// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"errors"
	"io"
	"path/filepath"
	"strings"
	"testing"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
)

// Bar R21
func TestSnapshotIsANode(t *testing.T) {
	dir := t.TempDir()
	open := func(dir string) *node.Node {
		n, err := node.Open(node.Options{
			Dir:         dir,
			OpenNetwork: func(identity.NodePrivateKey) (uplink.Network, error) { return nil, errors.New("there is no network") },
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	n := open(dir)
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	account, err := n.CreateAccount(t.Context(), "alice")
	if err != nil {
		t.Fatal(err)
	}
	other, err := n.CreateAccount(t.Context(), "bob")
	if err != nil {
		t.Fatal(err)
	}
	bob := n.Link(other)
	if _, err := n.AddContact(t.Context(), account.ID, bob); err != nil {
		t.Fatal(err)
	}
	m, err := n.Send(t.Context(), node.Outgoing{Account: account.ID, Contact: bob.Key, Payload: []byte("hello")})
	if err != nil {
		t.Fatal(err)
	}
	sent, err := n.SendFile(t.Context(), node.OutgoingFile{Account: account.ID, Contact: bob.Key, Body: strings.NewReader("content"), Name: "a"})
	if err != nil {
		t.Fatal(err)
	}
	copied, err := n.Snapshot(node.SnapshotOptions{})
	if err != nil || len(copied.Left) > 0 {
		t.Fatal(copied.Left, err)
	}
	c := open(copied.Dir)
	if c.Key() != n.Key() {
		t.Error("the snapshot has another node key")
	}
	got, err := c.Message(account.ID, bob.Key, m.ID)
	if err != nil || string(got.Payload) != "hello" || got.State != store.StatePending {
		t.Errorf("the snapshot has %+v, %v", got, err)
	}
	f, _, err := c.OpenMedia(account.ID, bob.Key, sent.ID)
	if err != nil {
		t.Fatal(err)
	}
	content, err := io.ReadAll(f)
	if err := errors.Join(err, f.Close()); string(content) != "content" || err != nil {
		t.Errorf("the snapshot's file has %q, %v", content, err)
	}
	if err := c.Start(t.Context()); err != nil { // reads the keys of its accounts
		t.Error(err)
	}
	if err := errors.Join(c.Stop(t.Context()), c.Close(), n.Stop(t.Context()), n.Close()); err != nil {
		t.Error(err)
	}
	if _, err := n.Snapshot(node.SnapshotOptions{}); !errors.Is(err, store.ErrClosed) {
		t.Errorf("snapshot of a closed node: %v", err)
	}
	// The caller did not remove the snapshot, like a process that was killed.
	again := open(dir)
	defer func() {
		if err := again.Close(); err != nil {
			t.Error(err)
		}
	}()
	left, err := filepath.Glob(filepath.Join(dir, ".snapshot-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v, %v", left, err)
	}
}
