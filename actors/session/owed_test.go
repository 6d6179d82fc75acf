// SPDX-License-Identifier: MPL-2.0

package session

import (
	"log/slog"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/session/attribution"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/strangerlog"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

// A contact may request several files before its session yields: all of them are owed,
// each once, and those of two pairs are kept apart.
func TestOwedFiles_AskedOneAfterTheOther_AllAreOwed(t *testing.T) {
	owed, now := newOwedFiles(), time.Unix(1_800_000_000, 0)
	a, b := testPair(0, 0), testPair(1, 0)
	for _, guid := range []peer.GUID{1, 2, 1} {
		owed.put(a, []servedFile{{guid: guid}}, now)
	}
	owed.put(b, []servedFile{{guid: 3}}, now)
	if files := owed.take(a, now); len(files) != 2 || files[0].guid != 1 || files[1].guid != 2 {
		t.Errorf("the first pair is owed %v", files)
	}
	if files := owed.take(b, now); len(files) != 1 || files[0].guid != 3 {
		t.Errorf("the second pair is owed %v", files)
	}
	if owed.has(a, now) || owed.take(a, now) != nil {
		t.Error("what was taken is still owed")
	}
}

// Neither one pair nor many can be owed without a bound, and what nobody has come for
// is forgotten.
func TestOwedFiles_AreBounded(t *testing.T) {
	owed, now := newOwedFiles(), time.Unix(1_800_000_000, 0)
	for i := range 2 * maxOwedPairs {
		owed.put(testPair(i%250, i/250), []servedFile{{guid: peer.GUID(i)}}, now)
	}
	for guid := range peer.GUID(2 * maxFileRequests) {
		owed.put(testPair(0, 0), []servedFile{{guid: 1000 + guid}}, now)
	}
	if len(owed.pairs) != maxOwedPairs {
		t.Errorf("%d pairs are owed files, at most %d", len(owed.pairs), maxOwedPairs)
	}
	if files := owed.take(testPair(0, 0), now); len(files) != maxFileRequests {
		t.Errorf("a pair is owed %d files, at most %d", len(files), maxFileRequests)
	}
	now = now.Add(owedFilesTime + time.Second)
	if owed.has(testPair(1, 0), now) || owed.take(testPair(1, 0), now) != nil {
		t.Error("a file is owed for ever")
	}
}

// What is owed comes behind the file that is being sent, which is the first.
func TestAppendServed_KeepsTheFirst(t *testing.T) {
	files := appendServed([]servedFile{{guid: 7}}, []servedFile{{guid: 8}, {guid: 7}})
	if len(files) != 2 || files[0].guid != 7 || files[1].guid != 8 {
		t.Errorf("to be sent are %v", files)
	}
}

// While a file is being sent, a text that no control frame carries may ask for the node:
// all files are owed then, and the end of the one on its way finds none.
func TestSession_ServedAfterTheNodeWasClaimed(t *testing.T) {
	table := NewTable(1, strangerlog.New(slog.New(slog.DiscardHandler)))
	place, err := table.sessions.Enter(attribution.Entry{Conversation: testPair(0, 0), Known: true})
	if err != nil {
		t.Fatal(err)
	}
	s := &session{deps: &Deps{Table: table}, Conversation: testPair(0, 0), place: place, toServe: []servedFile{{guid: 1}}}
	s.owe(kernel.Ref{})
	s.onServed(nil, nil)
	if !table.OwesFiles(testPair(0, 0)) {
		t.Error("the file is not owed")
	}
}

func testPair(account, contact int) store.Conversation {
	return store.ConversationWith(identity.PublicKey{byte(account + 1)}, identity.PublicKey{byte(contact + 1)})
}
