// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// addRow is a migration that writes one row.
func addRow(to uint64) migration {
	return migration{to, func(_ *pebble.DB, b *pebble.Batch) error {
		return b.Set(entryIDKey("migration", fmt.Sprint(to)), []byte{byte(to)}, nil)
	}}
}

// version opens the store with these steps, closes it, and returns the version
// it then has.
func version(t *testing.T, fs vfs.FS, steps ...migration) (uint64, error) {
	t.Helper()
	s, err := open(Options{Dir: "store", FS: fs}, steps)
	if err != nil {
		return 0, err
	}
	defer func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}()
	var row schemaRow
	err = s.read(func(r rows) error { return loadRow(r, schemaKey(), &row) })
	return row.Version, err
}

// Bar R20
func TestMigrationsRunInOrder(t *testing.T) {
	mem := vfs.NewMem()
	for _, test := range []struct {
		steps []migration
		want  uint64
		err   error
	}{
		{nil, 1, nil},
		{nil, 1, nil},
		{[]migration{addRow(2)}, 2, nil},
		{nil, 0, ErrNewerSchema},
		{[]migration{addRow(2), addRow(3), addRow(4)}, 4, nil},
		{[]migration{addRow(2), addRow(3), addRow(4)}, 4, nil},
		{[]migration{addRow(2), addRow(3)}, 0, ErrNewerSchema},
		{[]migration{addRow(6)}, 0, ErrCorrupt}, // a gap
	} {
		if got, err := version(t, mem, test.steps...); got != test.want || !errors.Is(err, test.err) {
			t.Errorf("%d steps: version %d, %v, want %d, %v", len(test.steps), got, err, test.want, test.err)
		}
	}
	if got, err := version(t, vfs.NewMem(), addRow(2), addRow(3)); got != 3 || err != nil {
		t.Errorf("a new store has version %d, %v", got, err)
	}
}

func TestMigrationFailureChangesNothing(t *testing.T) {
	mem := vfs.NewMem()
	if _, err := version(t, mem); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("broken")
	failing := migration{3, func(*pebble.DB, *pebble.Batch) error { return broken }}
	if _, err := version(t, mem, addRow(2), failing); !errors.Is(err, broken) {
		t.Errorf("%v, want %v", err, broken)
	}
	if got, err := version(t, mem, addRow(2)); got != 2 || err != nil {
		t.Errorf("version %d, %v", got, err)
	}
}

// TestCrashMigration cuts the power at every write of a migration of three steps.
func TestCrashMigration(t *testing.T) {
	steps := []migration{addRow(2), addRow(3), addRow(4)}
	for at := 0; ; at++ {
		mem := vfs.NewCrashableMem()
		if _, err := version(t, mem); err != nil {
			t.Fatal(err)
		}
		cut := &powerCut{mem: mem, after: at}
		_, err := version(t, cut.fs(), steps...)
		if err != nil {
			t.Fatal(err)
		}
		if cut.clone == nil {
			if at < 10 {
				t.Errorf("only %d writes", at)
			}
			return
		}
		if got, err := version(t, cut.clone, steps...); got != 4 || err != nil {
			t.Fatalf("cut at write %d: version %d, %v", at, got, err)
		}
		s, err := open(Options{Dir: "store", FS: cut.clone}, steps)
		if err != nil {
			t.Fatal(err)
		}
		for step := 2; step <= 4; step++ {
			err := s.read(func(r rows) error {
				_, err := getRow(r, entryIDKey("migration", fmt.Sprint(step)))
				return err
			})
			if err != nil {
				t.Errorf("cut at write %d: step %d: %v", at, step, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestOpenRefusesForeignDatabase(t *testing.T) {
	mem := vfs.NewMem()
	db, err := pebble.Open("store", &pebble.Options{FS: mem, FormatMajorVersion: formatVersion, Logger: quietPebble{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(db.Set([]byte("key"), nil, pebble.Sync), db.Close()); err != nil {
		t.Fatal(err)
	}
	if _, err := version(t, mem); !errors.Is(err, ErrCorrupt) {
		t.Errorf("%v, want %v", err, ErrCorrupt)
	}
}

type quietPebble struct{}

func (quietPebble) Infof(string, ...any)              {}
func (quietPebble) Errorf(string, ...any)             {}
func (quietPebble) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
