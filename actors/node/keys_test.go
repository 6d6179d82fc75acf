// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
)

// The lost key of a role is a problem of a node that has the role, and of no other.
func TestKeyProblems_OfTheRolesInUse(t *testing.T) {
	dir := t.TempDir()
	noNetwork := func(identity.NodePrivateKey) (uplink.Network, error) { return nil, errors.New("not needed") }
	both := node.Options{Dir: dir, Tracker: &trackerserver.Options{OpenNetwork: noNetwork}, Files: &fileserver.Options{OpenNetwork: noNetwork}}
	n, err := node.Open(both)
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	// The store has noted the keys when it has done what came after them.
	if _, err := n.CreateAccount(t.Context(), "Alice"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(n.Stop(t.Context()), n.Close()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"tracker.pem", "files.pem"} {
		if err := os.Remove(filepath.Join(dir, "keys", name)); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		opts node.Options
		want int
	}{
		{both, 2},
		{node.Options{Dir: dir, Tracker: both.Tracker}, 1},
		{node.Options{Dir: dir}, 0},
	} {
		n, err := node.OpenReadOnly(test.opts)
		if err != nil {
			t.Fatal(err)
		}
		problems, err := n.KeyProblems()
		if err := errors.Join(err, n.Close()); err != nil {
			t.Fatal(err)
		}
		if len(problems) != test.want {
			t.Errorf("tracker %t, files %t: %v", test.opts.Tracker != nil, test.opts.Files != nil, problems)
		}
	}
}
