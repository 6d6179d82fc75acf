// SPDX-License-Identifier: MPL-2.0

package keyring

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func open(t *testing.T, opts Options) *Ring {
	t.Helper()
	if opts.Dir == "" {
		opts.Dir = t.TempDir()
	}
	r, err := Open(opts)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestRing_AccountFromCreateToRemove(t *testing.T) {
	r := open(t, Options{})
	id, err := r.Create()
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Account(id); ok || r.Refuses(id) {
		t.Error("an account that is not loaded is served")
	}
	if err := r.Load(id); err != nil {
		t.Fatal(err)
	}
	key, ok := r.Account(id)
	if !ok || key.Public() != id || !r.Refuses(id) {
		t.Errorf("a loaded account: %v, refused %v", ok, r.Refuses(id))
	}
	if err := r.Put(key); err != nil {
		t.Errorf("the same key again: %v", err)
	}
	if err := r.Remove(id, false); err != nil {
		t.Fatal(err)
	}
	if _, ok := r.Account(id); ok {
		t.Error("a removed account is served")
	}
	if _, err := r.Read(id); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file of a removed account: %v", err)
	}
	if err := r.Put(key); err != nil {
		t.Errorf("the key back: %v", err)
	}
	if err := r.Remove(id, true); err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(r.dir); len(left) != 0 || err != nil {
		t.Errorf("left after deletion: %v, error %v", left, err)
	}
}

func TestRing_PutReplacesNoOtherKey(t *testing.T) {
	r := open(t, Options{})
	id, err := r.Create()
	if err != nil {
		t.Fatal(err)
	}
	key, err := r.Read(id)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.accountFile(id), []byte("damaged"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := r.Put(key); !errors.Is(err, fs.ErrExist) {
		t.Errorf("error %v, want fs.ErrExist", err)
	}
}

func TestRing_CopyTo(t *testing.T) {
	r, to := open(t, Options{}), filepath.Join(t.TempDir(), "copy", DirName)
	if err := r.CopyTo(to); err != nil {
		t.Errorf("without a key: %v", err)
	}
	id, err := r.Create()
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(r.OpenRole(RoleNode, identity.NodeKey{}, Policy{}), r.CopyTo(to)); err != nil {
		t.Fatal(err)
	}
	copied := open(t, Options{Dir: filepath.Dir(to)})
	if err := errors.Join(copied.CheckRole(RoleNode, r.RoleKey(RoleNode)), copied.Load(id)); err != nil {
		t.Errorf("the copy: %v", err)
	}
}

func TestRing_RefusesWhatCouldBeAnAnnouncement(t *testing.T) {
	other := [32]byte{3}
	r := open(t, Options{Others: []identity.Guard{identity.GuardFunc(func(v [32]byte) bool { return v == other })}})
	if err := r.OpenRole(RoleTracker, identity.NodeKey{}, Policy{}); err != nil {
		t.Fatal(err)
	}
	r.Know(identity.NodeKey{1})
	r.KnowStranger(identity.NodeKey{2})
	for name, value := range map[string][32]byte{
		"named": {1}, "a stranger's": {2}, "another guard's": other, "a role's": r.RoleKey(RoleTracker),
	} {
		if !r.Refuses(value) {
			t.Errorf("%s is signed", name)
		}
	}
	if r.Refuses([32]byte{4}) {
		t.Error("an unknown value is refused")
	}
}

func TestRing_Security(t *testing.T) {
	remote, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var point [32]byte
	for !identity.IsCurvePoint(point) || overlay.SameAddress(remote.Key(), point) {
		if _, err := rand.Read(point[:]); err != nil {
			t.Fatal(err)
		}
	}
	for refusePoints, want := range map[bool]bool{false: false, true: true} {
		s := open(t, Options{RefusePoints: refusePoints}).Security(remote.Key())
		if s.RemoteNode != remote.Key() || s.Issued == nil || s.Random == nil {
			t.Errorf("%+v", s)
		}
		if !s.Guard.Refuses(remote.Key()) {
			t.Error("the key of the other side is signed")
		}
		if got := s.Guard.Refuses(point); got != want {
			t.Errorf("RefusePoints %v: a point is refused: %v", refusePoints, got)
		}
	}
}

func TestRing_KnowStranger_EvictsTheLeastRecent(t *testing.T) {
	r := open(t, Options{})
	key := func(i int) (k identity.NodeKey) {
		binary.BigEndian.PutUint32(k[:], uint32(i+1))
		return k
	}
	for i := range maxStrangers {
		r.KnowStranger(key(i))
	}
	r.KnowStranger(key(0)) // again
	r.KnowStranger(key(maxStrangers))
	if !r.Refuses(key(0)) || r.Refuses(key(1)) || !r.Refuses(key(2)) || !r.Refuses(key(maxStrangers)) {
		t.Error("not the least recent was evicted")
	}
	if _, strangers := r.KnownForTest(); strangers != maxStrangers {
		t.Errorf("%d nodes, want %d", strangers, maxStrangers)
	}
}
