// SPDX-License-Identifier: MPL-2.0

package keyring

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"testing"

	"github.com/mimird/mimird/proto/identity"
)

// A key that the store remembers is never replaced without Policy.Replace, whatever
// happened to its file, and a replaced file gets another name.
func TestRing_OpenRole_LostKeyIsAnError(t *testing.T) {
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	other, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	known, never := key.Key(), identity.NodeKey{}
	for name, test := range map[string]struct {
		content []byte // nil: there is no file
		known   identity.NodeKey
		policy  Policy
		want    error
		same    bool // the key that was there
	}{
		"first start":                   {nil, never, Policy{}, nil, false},
		"as it was":                     {key.MarshalPEM(), known, Policy{Needed: true}, nil, true},
		"older than the memory of keys": {key.MarshalPEM(), never, Policy{Needed: true}, nil, true},
		"missing":                       {nil, known, Policy{}, ErrNodeKey, false},
		"missing beside accounts":       {nil, never, Policy{Needed: true}, ErrNodeKey, false},
		"another one":                   {other.MarshalPEM(), known, Policy{}, ErrNodeKey, false},
		"unreadable":                    {[]byte("rubbish"), known, Policy{}, ErrNodeKey, false},
		"cut":                           {key.MarshalPEM()[:60], known, Policy{}, ErrNodeKey, false},
		"empty":                         {[]byte{}, never, Policy{}, ErrNodeKey, false},
		"missing, replaced":             {nil, known, Policy{true, true}, nil, false},
		"another one, taken":            {other.MarshalPEM(), known, Policy{true, true}, nil, false},
		"unreadable, replaced":          {[]byte("rubbish"), known, Policy{true, true}, nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := Open(Options{Dir: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			path := k.path(string(RoleTracker))
			if err := os.MkdirAll(k.dir, 0o700); err != nil {
				t.Fatal(err)
			}
			if test.content != nil {
				if err := os.WriteFile(path, test.content, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := k.openRole(RoleTracker, test.known, test.policy)
			if !errors.Is(err, test.want) {
				t.Fatalf("%v", err)
			}
			if test.want != nil {
				if after, err := os.ReadFile(path); !bytes.Equal(after, test.content) || err != nil != (test.content == nil) {
					t.Errorf("the error has changed the file: %q, %v", after, err)
				}
				return
			}
			if test.same != got.Equal(key) || !k.Refuses([32]byte(got.Key())) {
				t.Errorf("key %s, was %s", got.Key().Short(), known.Short())
			}
			again, err := k.openRole(RoleTracker, got.Key(), Policy{Needed: true})
			if err != nil || !again.Equal(got) {
				t.Errorf("at the next start: %v", err)
			}
		})
	}
}

// Each replacement renames the file that it replaces.
func TestRing_OpenRole_ReplacedFilesAreKept(t *testing.T) {
	k, err := Open(Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(k.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, rubbish := range []string{"first", "second", "third"} {
		if err := errors.Join(removeFile(k.path(string(RoleNode))), os.WriteFile(k.path(string(RoleNode)), []byte(rubbish), 0o600)); err != nil {
			t.Fatal(err)
		}
		if _, err := k.openRole(RoleNode, identity.NodeKey{1}, Policy{Replace: true}); err != nil {
			t.Fatal(err)
		}
	}
	for name, want := range map[string]string{
		string(RoleNode) + removedEnding: "first", string(RoleNode) + removedEnding + "-2": "second", string(RoleNode) + removedEnding + "-3": "third",
	} {
		if got, err := os.ReadFile(k.path(name)); string(got) != want || err != nil {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}
