// SPDX-License-Identifier: MPL-2.0

package store

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// migration is one step from a version of the schema to the next. run reads the
// database and adds the changes to the batch, which is committed together with the new
// version: a crash leaves the step done or not begun. A step that is too large for one
// batch commits batches of its own first, and must then be restartable.
type migration struct {
	to  uint64 // the version it leads to, 2 for the first step
	run func(db *pebble.DB, b *pebble.Batch) error
}

// migrations lists the steps in order, without gaps. The version that this
// program writes is that of the last step, or 1.
func migrations() []migration { return []migration{{2, toVersion2}, {3, toVersion3}} }

// migrate brings the database to the newest version.
func migrate(db *pebble.DB, steps []migration) error {
	newest := newestOf(steps)
	version, err := schemaVersion(db, newest)
	if err != nil {
		return err
	}
	if version > newest {
		return newerSchema(version, newest)
	}
	for _, step := range steps {
		if step.to != version+1 {
			continue
		}
		if err := runStep(db, step); err != nil {
			return fmt.Errorf("migrate to version %d: %w", step.to, err)
		}
		version = step.to
	}
	if version != newest {
		return fmt.Errorf("no migration from version %d: %w", version, ErrCorrupt)
	}
	return nil
}

// newestOf returns the version that the last of the steps makes.
func newestOf(steps []migration) uint64 {
	if n := len(steps); n > 0 {
		return steps[n-1].to
	}
	return 1
}

// schemaOf returns the version of a database, 0 for one without rows.
func schemaOf(db rows) (uint64, error) {
	var row schemaRow
	err := loadRow(db, schemaKey(), &row)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	return row.Version, nil
}

// checkSchema checks that migrate can bring the database to the newest version.
// It changes nothing.
func checkSchema(db rows, steps []migration) error {
	version, err := schemaOf(db)
	if err == nil && version > newestOf(steps) {
		err = newerSchema(version, newestOf(steps))
	}
	return err
}

func newerSchema(version, newest uint64) error {
	return fmt.Errorf("%w: it has version %d, this program knows version %d", ErrNewerSchema, version, newest)
}

// schemaVersion reads the version. In a new database it writes the newest.
func schemaVersion(db *pebble.DB, newest uint64) (uint64, error) {
	var row schemaRow
	err := loadRow(db, schemaKey(), &row)
	if err == nil {
		return row.Version, nil
	}
	if !errors.Is(err, ErrNotFound) {
		return 0, fmt.Errorf("read schema version: %w", err)
	}
	for _, err := range scan(db, nil, nil) {
		if err != nil {
			return 0, err
		}
		return 0, fmt.Errorf("schema version is missing: %w", ErrCorrupt)
	}
	return newest, putVersion(db, db.NewBatch(), newest)
}

func runStep(db *pebble.DB, step migration) error {
	b := db.NewBatch()
	if err := step.run(db, b); err != nil {
		_ = b.Close() // never applied
		return err
	}
	return putVersion(db, b, step.to)
}

// putVersion adds the version to a batch and commits it.
func putVersion(db *pebble.DB, b *pebble.Batch, version uint64) error {
	raw, err := encode(schemaRow{Version: version})
	if err != nil {
		return err
	}
	if err := b.Set(schemaKey(), raw, nil); err != nil {
		return err
	}
	return db.Apply(b, pebble.Sync)
}
