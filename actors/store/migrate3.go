// SPDX-License-Identifier: MPL-2.0

package store

import "github.com/cockroachdb/pebble/v2"

// maxMigrationBatch is how many bytes a step writes before it commits a part of its
// work.
const maxMigrationBatch = 1 << 20

// toVersion3 gives the queue of transfers keys that have the kind of a conversation,
// and builds the indexes of stored files, by age and by hash. From this version on
// there may be rows of group chats, in tables that earlier programs do not know; what
// is stored of contacts stays as it is.
func toVersion3(db *pebble.DB, b *pebble.Batch) error {
	return indexMedia(db, b, maxMigrationBatch)
}

// indexMedia rebuilds all indexes of files, in batches of a number of bytes. The last
// part is left in b.
func indexMedia(db *pebble.DB, b *pebble.Batch, limit int) error {
	part := db.NewBatch()
	for last, err := range scanLast(db, []byte{spaceAccount}, len(parsedKey{}.account)) {
		if err != nil {
			return err
		}
		key, err := parseKey(last.key)
		if err != nil {
			return err
		}
		for _, table := range []byte{tableTransfer2, tableTransfer, tableStored, tableFile} {
			prefix := tablePrefix(key.account, table)
			if err := part.DeleteRange(prefix, prefixEnd(prefix), nil); err != nil {
				return err
			}
		}
		for row, err := range scanKinds(db, key.account, tableMedia) {
			m, err := mediaRow(key.account, row, err)
			if err != nil {
				return err
			}
			for _, place := range m.places() {
				if err := part.Set(place, nil, nil); err != nil {
					return err
				}
			}
			if part.Len() < limit {
				continue
			}
			// A crash from here on leaves a part of the indexes, which the next attempt
			// deletes. The log keeps the order, so the version is not synced before this.
			if err := db.Apply(part, pebble.NoSync); err != nil {
				return err
			}
			if err := part.Close(); err != nil {
				return err
			}
			part = db.NewBatch()
		}
	}
	return b.Apply(part, nil)
}
