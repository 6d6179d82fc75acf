// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"maps"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// NewestVersionForTest is the version of the schema that this program writes.
func NewestVersionForTest() uint64 {
	newest := uint64(1)
	for _, step := range migrations() {
		newest = step.to
	}
	return newest
}

// Bar R20: the upgrade of a store of every version, with the power cut at every
// write of it, leads to what it leads to undisturbed.
func TestCrashUpgrade(t *testing.T) {
	for from := uint64(1); from < NewestVersionForTest(); from++ {
		t.Run(fmt.Sprint("v", from), func(t *testing.T) {
			copied := func() *vfs.MemFS {
				mem := vfs.NewCrashableMem()
				ok, err := vfs.Clone(vfs.Default, mem, fmt.Sprint("testdata/store/v", from), "store", vfs.CloneSync)
				if err != nil || !ok {
					t.Fatalf("copy fixture: %t, %v", ok, err)
				}
				root, err := mem.OpenDir("/")
				if err == nil {
					err = errors.Join(root.Sync(), root.Close())
				}
				if err != nil {
					t.Fatal(err)
				}
				return mem
			}
			want := upgraded(t, copied())
			for at := 0; ; at += lessWithRace(1, 7) {
				cut := &powerCut{mem: copied(), after: at}
				upgraded(t, cut.fs())
				if cut.clone == nil {
					if at < 10 {
						t.Errorf("only %d writes", at)
					}
					return
				}
				if got := upgraded(t, cut.clone); !maps.Equal(got, want) {
					t.Fatalf("cut at write %d: %d rows, want %d, or others", at, len(got), len(want))
				}
			}
		})
	}
}

// upgraded opens a store, which upgrades it, closes it, and returns its rows.
func upgraded(t *testing.T, fs vfs.FS) map[string]string {
	t.Helper()
	s, err := Open(Options{Dir: "store", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	all, err := allRows(s)
	problems, checkErr := s.Check()
	if err := errors.Join(err, checkErr, s.Close()); err != nil || len(problems) > 0 {
		t.Fatalf("%v, %q", err, problems)
	}
	return all
}

func allRows(s *Store) (map[string]string, error) {
	all := make(map[string]string)
	err := s.read(func(r rows) error {
		for row, err := range scan(r, nil, nil) {
			if err != nil {
				return err
			}
			value, err := row.value()
			if err != nil {
				return err
			}
			all[string(row.key)] = string(value)
		}
		return nil
	})
	return all, err
}
