// SPDX-License-Identifier: MPL-2.0

//go:build unix

package node_test

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// Bar S20: keys are for their owner's eyes whatever the umask is.
func TestKeyFilesArePrivate(t *testing.T) {
	for _, umask := range []int{0o000, 0o077} {
		t.Run(fmt.Sprintf("umask %03o", umask), func(t *testing.T) {
			before := syscall.Umask(umask)
			defer syscall.Umask(before)
			n := actorstest.New(t, memnet.Options{}).Node("owner", func(o *node.Options) {
				o.Dir = filepath.Join(t.TempDir(), "deep", "data")
			})
			dir := n.Opts.Dir
			for path, want := range map[string]fs.FileMode{
				dir: fs.ModeDir | 0o700, filepath.Join(dir, "keys"): fs.ModeDir | 0o700,
				filepath.Join(dir, "keys", "node.pem"):                   0o600,
				filepath.Join(dir, "keys", n.Account.ID.String()+".pem"): 0o600,
			} {
				info, err := os.Lstat(path)
				if err != nil {
					t.Fatal(err)
				}
				if info.Mode() != want {
					t.Errorf("%s has mode %v, want %v", path, info.Mode(), want)
				}
			}
		})
	}
}

// Bar S20: a key that others could have read is not used, and a foreign file is not
// taken for one of ours. The error says what to do, and a key that is there is
// never written over.
func TestLooseKeyFilesAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		spoil func(t *testing.T, dir, key string)
		want  string
	}{
		"a key for all":       {func(t *testing.T, _, key string) { chmod(t, key, 0o644) }, "chmod 600"},
		"a key for the group": {func(t *testing.T, _, key string) { chmod(t, key, 0o640) }, "chmod 600"},
		"a directory for all": {func(t *testing.T, dir, _ string) { chmod(t, dir, 0o755) }, "chmod 700"},
		"a link": {func(t *testing.T, dir, key string) {
			if err := errors.Join(os.Rename(key, key+".real"), os.Symlink(key+".real", key)); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		"a directory": {func(t *testing.T, dir, key string) {
			if err := errors.Join(os.Remove(key), os.Mkdir(key, 0o700)); err != nil {
				t.Fatal(err)
			}
		}, "not a regular file"},
		"something else": {func(t *testing.T, dir, key string) {
			if err := os.WriteFile(key, []byte("not a key"), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "node key"},
		"a large file": {func(t *testing.T, dir, key string) {
			if err := os.WriteFile(key, make([]byte, 1<<20), 0o600); err != nil {
				t.Fatal(err)
			}
		}, "a key file is smaller"},
	} {
		t.Run(name, func(t *testing.T) {
			n := actorstest.New(t, memnet.Options{}).Node("owner")
			n.Stop()
			keys := filepath.Join(n.Opts.Dir, "keys")
			key := filepath.Join(keys, "node.pem")
			test.spoil(t, keys, key)
			before, readErr := os.ReadFile(key)
			node, err := node.Open(n.Opts)
			if err == nil {
				_ = node.Close()
				t.Fatal("it was opened")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q has no %q", err, test.want)
			}
			if after, err := os.ReadFile(key); readErr == nil && (err != nil || string(after) != string(before)) {
				t.Error("the key file was changed")
			}
		})
	}
}

func chmod(t *testing.T, path string, mode fs.FileMode) {
	t.Helper()
	if err := os.Chmod(path, mode); err != nil {
		t.Fatal(err)
	}
}

// An account goes to another node with its key, and back after it was removed;
// nothing is ever written over a key, and importing says who else has it.
func TestAccountsAreExportedAndImported(t *testing.T) {
	w := actorstest.New(t, memnet.Options{})
	one, two := w.Node("one"), w.Node("two")
	one.AwaitAnnounced()
	pem, err := one.ExportAccount(one.Account.ID)
	if err != nil {
		t.Fatal(err)
	}
	key, err := identity.ParsePEM(pem)
	if err != nil || key.Public() != one.Account.ID {
		t.Fatal(err)
	}
	if _, err := one.ImportAccount(t.Context(), node.Import{Key: key}); !errors.Is(err, node.ErrAccountExists) {
		t.Errorf("importing what is there: %v", err)
	}
	done, err := two.ImportAccount(t.Context(), node.Import{Key: key, Name: "copy", Avatar: []byte("no picture"), Role: store.RoleBackup})
	if err != nil {
		t.Fatal(err)
	}
	if !done.Asked || len(done.ForeignNodes) != 1 || done.ForeignNodes[0].Node != one.Key() {
		t.Errorf("the account is in use elsewhere: %+v", done)
	}
	a := done.Account
	if a.Name != "copy" || a.Avatar != nil || a.Role != store.RoleBackup || a.Priority != 0 || a.ClientID <= 1 || a.ClientID == one.Account.ClientID {
		t.Errorf("%+v", a)
	}

	// Removed and imported again: the key file that was left is as good as the import.
	if err := two.RemoveAccount(t.Context(), a.ID, false); err != nil {
		t.Fatal(err)
	}
	if _, err := two.ExportAccount(a.ID); !errors.Is(err, node.ErrUnknownAccount) {
		t.Errorf("exporting what is gone: %v", err)
	}
	if last, err := two.LastEvent(a.ID); err != nil || last != 0 {
		t.Errorf("its log ends at %d, %v", last, err)
	}
	if err := two.MoveCursor(t.Context(), "consumer", a.ID, store.ConversationID{}, 1); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("a consumer goes on: %v", err)
	}
	removed := filepath.Join(two.Opts.Dir, "keys", a.ID.String()+".pem.removed")
	if left, err := os.ReadFile(removed); err != nil || string(left) != string(pem) {
		t.Errorf("the key that was left: %v", err)
	}
	for range 2 {
		if _, err := two.ImportAccount(t.Context(), node.Import{Key: key, Name: "again"}); err != nil {
			t.Fatal(err)
		}
		if err := two.RemoveAccount(t.Context(), a.ID, true); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(removed); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("a copy of the key is left: %v", err)
		}
	}
	if err := two.RemoveAccount(t.Context(), a.ID, true); !errors.Is(err, node.ErrUnknownAccount) {
		t.Errorf("removing what is gone: %v", err)
	}

	// Another key under the account's name is an error, not written over.
	other, err := identity.GeneratePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(two.Opts.Dir, "keys", a.ID.String()+".pem")
	if err := os.WriteFile(path, other.MarshalPEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := two.ImportAccount(t.Context(), node.Import{Key: key}); !errors.Is(err, fs.ErrExist) {
		t.Errorf("importing over another key: %v", err)
	}
	if left, err := os.ReadFile(path); err != nil || string(left) != string(other.MarshalPEM()) {
		t.Error("the other key was written over")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := one.RemoveAccount(ctx, one.Account.ID, false); err == nil {
		t.Error("removed although the caller has gone")
	}
	if _, err := one.Node.Account(one.Account.ID); err != nil {
		t.Errorf("half removed: %v", err)
	}
}
