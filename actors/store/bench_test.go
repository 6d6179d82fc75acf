// SPDX-License-Identifier: MPL-2.0

package store

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/mimird/mimird/proto/identity"
)

type nobody struct{}

func (nobody) answer(Written) {}

// BenchmarkAccept measures the work for one message without the disk, in batches
// of 64.
func BenchmarkAccept(b *testing.B) {
	s, err := Open(Options{Dir: "store", FS: vfs.NewMem()})
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	w := newWriter(s)
	commit := func() {
		for batch := w.next(); batch != nil; batch = w.next() {
			if err := commitNow(s, batch); err != nil {
				b.Fatal(err)
			}
			w.ended()
		}
	}
	account := identity.PublicKey{1}
	w.submit(nobody{}, Write{Op: PutAccount{Account: Account{ID: account}}})
	for i := range 100 {
		w.submit(nobody{}, Write{Op: AddContact{Contact: Contact{Account: account, ID: identity.PublicKey{2, byte(i)}}}})
	}
	commit()
	payload := make([]byte, 250)
	for i := range payload {
		payload[i] = byte('a' + rand.IntN(26))
	}
	b.ReportAllocs()
	for i := range b.N {
		w.submit(nobody{}, Write{Op: AcceptMessage{
			Account: account, Conversation: ContactConversation(identity.PublicKey{2, byte(i % 100)}), GUID: rand.Int64() | 1, Type: 1,
			SendTime: 1_700_000_000_000, Payload: payload,
		}})
		if i%64 == 63 {
			commit()
		}
	}
	commit()
}
