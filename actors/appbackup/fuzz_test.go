// SPDX-License-Identifier: MPL-2.0

package appbackup_test

import (
	"bytes"
	"testing"

	"github.com/mimird/mimird/actors/appbackup"
)

// FuzzRead reads what is not a backup, or one that was changed: as an archive, and as the
// database of one.
func FuzzRead(f *testing.F) {
	pack := func(t testing.TB, database []byte) []byte {
		raw := make([]byte, 0, len(database))
		packed := bytes.NewBuffer(raw)
		if _, err := archive(t, map[string][]byte{"data.db": database}).WriteTo(packed); err != nil {
			t.Fatal(err)
		}
		return packed.Bytes()
	}
	seed, public := owner.Seed(), owner.Public()
	whole := database(f, []any{accounts}, []any{contacts}, []any{groupChats}, []any{addAccount, seed[:], public[:]},
		[]any{"INSERT INTO contacts (pubkey, name, renamed, muted) VALUES (?, 'Bob', 1, 1), (?, 'Carol', 0, 0)", bob[:], carol[:]})
	f.Add(whole, true)
	f.Add(pack(f, whole), false)
	f.Add([]byte("PK\x03\x04"), false)
	f.Add([]byte("SQLite format 3\x00"), true)
	f.Add(bytes.Repeat([]byte{0}, 4096), true)
	f.Fuzz(func(t *testing.T, raw []byte, isDatabase bool) {
		if len(raw) > 1<<20 {
			return
		}
		if isDatabase {
			raw = pack(t, raw)
		}
		b, err := appbackup.Read(bytes.NewReader(raw), int64(len(raw)))
		if err != nil {
			return
		}
		for _, c := range b.Contacts {
			if c.Key.Validate() != nil {
				t.Errorf("a contact has the key %s", c.Key)
			}
		}
	})
}
