// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mimird/mimird/actors/fileserver"
	"github.com/mimird/mimird/actors/node"
)

// Bar R21: what others have put on the file server is in a backup, and served again
// from it; check notices when it is damaged.
func TestHostedFilesAreBackedUpAndChecked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDepot(t, fileserver.Options{})
		one, two := pattern(200_000, 1), pattern(70_000, 2)
		c := d.dial(t, "alice")
		hash, err := c.Upload(one)
		if err != nil {
			t.Fatal(err)
		}
		other, err := c.Upload(two)
		if err != nil {
			t.Fatal(err)
		}
		snapshot := func(opts node.SnapshotOptions) node.Snapshot {
			made, err := d.n.Snapshot(opts)
			if err != nil {
				t.Fatal(err)
			}
			return made
		}
		made, without := snapshot(node.SnapshotOptions{}), snapshot(node.SnapshotOptions{WithoutHosted: true})
		if len(made.Left) > 0 || len(without.Left) != 1 || !strings.Contains(without.Left[0], "2 files, 270000 bytes") {
			t.Errorf("left out: %q, without hosted files: %q", made.Left, without.Left)
		}
		c.Abort()
		d.n.Stop()
		restart := func(dir string) {
			d.n.Stop()
			d.n.Opts.Dir = dir
			d.n.Start()
		}
		check := func(want ...string) {
			t.Helper()
			problems, err := d.n.Check()
			if err != nil || len(problems) != len(want) {
				t.Fatalf("found: %q, %v", problems, err)
			}
			for i, w := range want {
				if !strings.Contains(problems[i], w) {
					t.Errorf("found %q, not %q", problems[i], w)
				}
			}
		}

		restart(made.Dir)
		check()
		c = d.dial(t, "bob")
		if got, err := c.Download(hash, 0); err != nil || !bytes.Equal(got, one) {
			t.Errorf("%d bytes, %v", len(got), err)
		}
		name := hex.EncodeToString(hash[:])
		path := filepath.Join(made.Dir, "files", "hosted", name[:2], name)
		spoilt := bytes.Clone(one)
		spoilt[5]++
		for _, step := range []struct {
			do   func() error
			want string
		}{
			{func() error { return os.WriteFile(path, spoilt, 0o600) }, "not what was uploaded"},
			{func() error { return os.WriteFile(path, one[:9], 0o600) }, "9 bytes of 200000"},
			{func() error { return os.Remove(path) }, "missing"},
		} {
			if err := step.do(); err != nil {
				t.Fatal(err)
			}
			check(step.want)
		}

		// Without its files the server begins anew: clients upload theirs again.
		restart(without.Dir)
		c = d.dial(t, "alice")
		if _, err := c.Download(other, 0); err == nil {
			t.Error("a file that is not there is served")
		}
		if _, err := c.Upload(two); err != nil {
			t.Error(err)
		}
		check()
	})
}
