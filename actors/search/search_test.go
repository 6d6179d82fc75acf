// SPDX-License-Identifier: MPL-2.0

package search_test

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/mimird/mimird/actors/search"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

func TestSearch_WordsPrefixesPhrases(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.says(alice, bob, "We meet at the Old Bridge, 8 o'clock")
		r.writes(alice, with(bob), "the bridge is old 👍🏽")
		r.says(alice, carol, "Встретимся у ёлки в ноябре, хорошо?")
		r.says(alice, carol, "mail me: carol.builder@example.org")
		r.says(alice, carol, "東京で会いましょう")
		for _, test := range []struct {
			words string
			want  []string
		}{
			{"bridge", []string{"the bridge is old 👍🏽", "We meet at the Old Bridge, 8 o'clock"}},
			{"BRI old", []string{"the bridge is old 👍🏽", "We meet at the Old Bridge, 8 o'clock"}},
			{`"old bridge"`, []string{"We meet at the Old Bridge, 8 o'clock"}},
			{`"old bri"`, nil},
			{"bridge meet", []string{"We meet at the Old Bridge, 8 o'clock"}},
			{"bridge carol", nil},
			{"bridg", []string{"the bridge is old 👍🏽", "We meet at the Old Bridge, 8 o'clock"}},
			{"br", nil},
			{"o'clo", []string{"We meet at the Old Bridge, 8 o'clock"}},
			{"8", []string{"We meet at the Old Bridge, 8 o'clock"}},
			{"👍", []string{"the bridge is old 👍🏽"}},
			{"👎", nil},
			{"ЕЛК ноябр", []string{"Встретимся у ёлки в ноябре, хорошо?"}},
			{"встретимся", []string{"Встретимся у ёлки в ноябре, хорошо?"}},
			{"carol.builder@example.org", []string{"mail me: carol.builder@example.org"}},
			{"example.com", nil},
			{"東京", []string{"東京で会いましょう"}},
			{"京東", nil},
		} {
			r.wants(search.Query{Account: alice, Words: test.words}, test.want...)
		}
	})
}

func TestSearch_TwoAccounts_NeitherFindsTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.says(alice, bob, "a secret of alice")
		r.says(anna, bob, "a secret of anna")
		r.inGroup(alice, party, bob, "a secret party of alice")
		r.inGroup(anna, party, bob, "a secret party of anna")
		r.wants(search.Query{Account: alice, Words: "secret"}, "a secret party of alice", "a secret of alice")
		r.wants(search.Query{Account: anna, Words: "secret"}, "a secret party of anna", "a secret of anna")
		r.wants(search.Query{Account: anna, Words: "secret", Conversation: group(party)}, "a secret party of anna")
		r.wants(search.Query{Account: anna, Sender: bob}, "a secret party of anna", "a secret of anna")
		r.wants(search.Query{Account: dave, Words: "secret"})
		do[bool](r, store.RemoveAccount{Account: alice})
		r.wants(search.Query{Account: alice, Words: "secret"})
		r.wants(search.Query{Account: anna, Words: "secret"}, "a secret party of anna", "a secret of anna")
	})
}

func TestSearch_Conditions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.says(alice, bob, "word one")
		r.sent = r.sent.Add(day)
		r.writes(alice, with(bob), "word two")
		r.says(alice, carol, "word three")
		r.sent = r.sent.Add(day)
		r.inGroup(alice, party, bob, "word four")
		r.inGroup(alice, party, carol, "word five")
		r.inGroup(alice, works, bob, "word six")
		r.sendsFile(alice, carol, "holiday_pictures.zip", "the beach")
		r.sendsFile(alice, bob, "words.txt", "")
		found := func(q search.Query, want ...string) {
			t.Helper()
			q.Account = alice
			var excerpts []string
			for _, hit := range r.ask(q).Messages {
				excerpts = append(excerpts, hit.Excerpt)
			}
			if !slices.Equal(excerpts, want) {
				t.Errorf("%+v: %q, want %q", q, excerpts, want)
			}
		}
		found(search.Query{Words: "word", Conversation: with(bob)}, "words.txt", "word two", "word one")
		found(search.Query{Words: "word", Conversation: group(party)}, "word five", "word four")
		found(search.Query{Words: "word", Conversation: with(dave)})
		found(search.Query{Words: "word", Sender: bob}, "words.txt", "word six", "word four", "word one")
		found(search.Query{Words: "word", Sender: bob, Conversation: group(works)}, "word six")
		found(search.Query{Words: "word", Sender: alice}, "word two")
		found(search.Query{Words: "word", Sender: dave})
		found(search.Query{Words: "word", Since: began.Add(day), Until: began.Add(2 * day)}, "word three", "word two")
		found(search.Query{Until: began.Add(day)}, "word one")
		found(search.Query{Files: true}, "words.txt", "the beach holiday_pictures.zip")
		found(search.Query{Words: "beach", Files: true}, "the beach holiday_pictures.zip")
		found(search.Query{Words: "pictures"}, "the beach holiday_pictures.zip")
		found(search.Query{Words: "word", Files: true, Sender: bob}, "words.txt")
		found(search.Query{Words: "word", Since: began.Add(2 * day), Until: began.Add(day)})
	})
}

func TestSearch_Names(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		named := func(account identity.PublicKey, words string, want ...store.ConversationID) {
			t.Helper()
			if got := r.ask(search.Query{Account: account, Words: words}).Names; !slices.Equal(got, want) {
				t.Errorf("%q: %v, want %v", words, got, want)
			}
		}
		named(alice, "build", with(bob))
		named(alice, "кэр", with(carol))
		named(alice, "party", group(party))
		do[bool](r, store.UpdateContact{Account: alice, Contact: bob, Fields: store.FieldLocalName, LocalName: "Robert"})
		named(alice, "robert", with(bob))
		named(anna, "robert")
		do[bool](r, store.UpdateContact{Account: alice, Contact: bob, Fields: store.FieldLocalName, LocalName: "Rob"})
		named(alice, "robert")
		do[bool](r, store.RemoveContact{Account: alice, Contact: bob})
		named(alice, "builder")
		named(anna, "builder", with(bob))
		r.contact(alice, bob, "Builder again")
		named(alice, "builder", with(bob))
	})
}

// What has expired leaves the index too, also its words; what stays in between does not.
func TestSearch_Expired_Leave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.says(alice, bob, "secret one")
		r.writes(alice, with(bob), "secret and undelivered")
		r.says(alice, bob, "secret two")
		r.says(alice, carol, "secret of carol")
		r.says(anna, bob, "secret of anna")
		r.wants(search.Query{Account: alice, Words: "secret"}, "secret of carol", "secret two", "secret and undelivered", "secret one")
		before := r.count("SELECT count(*) FROM documents WHERE place > 0")
		found, err := r.store.Expirable(alice, with(bob), store.MillisOf(began.Add(1000*day)), 0, store.Consumers{})
		r.must(err)
		op := store.ExpireMessages{Account: alice, Conversation: with(bob), Orders: found.Orders, Seq: found.Seq}
		if got := do[store.Expired](r, op); got.Count != 2 {
			t.Fatalf("%+v", got)
		}
		r.wants(search.Query{Account: alice, Words: "secret"}, "secret of carol", "secret and undelivered")
		r.wants(search.Query{Account: anna, Words: "secret"}, "secret of anna")
		if after := r.count("SELECT count(*) FROM documents WHERE place > 0"); after != before-2 {
			t.Errorf("%d documents, %d before", after, before)
		}
		r.says(alice, bob, "secret three")
		r.wants(search.Query{Account: alice, Words: "secret"}, "secret three", "secret of carol", "secret and undelivered")
	})
}

func TestSearch_EditedDeletedRemoved_Leave(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.says(alice, bob, "first wording")
		edited := store.AcceptMessage{
			Account: alice, Conversation: with(bob), GUID: r.guid, SendTime: store.MillisOf(r.sent), EditTime: store.MillisOf(r.sent) + 1, Payload: []byte("second wording"),
		}
		do[store.Accepted](r, edited)
		r.wants(search.Query{Account: alice, Words: "first"})
		r.wants(search.Query{Account: alice, Words: "wording"}, "second wording")

		guid := r.inGroup(alice, party, carol, "a slip of the tongue")
		r.inGroup(alice, works, carol, "another slip")
		r.wants(search.Query{Account: alice, Words: "slip"}, "another slip", "a slip of the tongue")
		r.inGroup(alice, party, identity.PublicKey(mediator), "", func(m *store.GroupMessage) {
			m.System, m.Deletes, m.DeletedGUID, m.Type = true, true, guid, 5
		})
		r.wants(search.Query{Account: alice, Words: "slip"}, "another slip")

		r.says(anna, bob, "second wording")
		do[bool](r, store.RemoveContact{Account: alice, Contact: bob})
		r.wants(search.Query{Account: alice, Words: "wording"})
		r.wants(search.Query{Account: anna, Words: "wording"}, "second wording")
		r.contact(alice, bob, "Bob")
		r.says(alice, bob, "third wording")
		r.wants(search.Query{Account: alice, Words: "wording"}, "third wording")
		do[bool](r, store.RemoveGroup{Account: alice, Group: group(works)})
		r.wants(search.Query{Account: alice, Words: "slip"})
	})
}

func TestSearch_Pages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var want []string
		for i := range 25 {
			text := fmt.Sprint("number ", i)
			want = append(want, text)
			r.says(alice, []identity.PublicKey{bob, carol}[i%2], text)
			r.says(anna, bob, text)
		}
		slices.Reverse(want)
		var got []string
		q := search.Query{Account: alice, Words: "number", Limit: 10}
		for pages := 1; ; pages++ {
			out := r.ask(q)
			got = append(got, textsOf(out)...)
			if q.Before = out.Next; out.Next == "" {
				if pages != 3 {
					t.Errorf("%d pages", pages)
				}
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%q", got)
		}
	})
}

// TestSearch_ManyInOneSecond_AllFound sends more messages in one second than it has
// slots for without others.
func TestSearch_ManyInOneSecond_AllFound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for range 600 {
			r.guid++
			do[store.Accepted](r, store.AcceptMessage{
				Account: alice, Conversation: with(bob), GUID: r.guid, SendTime: store.MillisOf(began), Payload: []byte("at once"),
			})
		}
		found := 0
		for q := (search.Query{Account: alice, Words: "once", Limit: 200}); ; {
			out := r.ask(q)
			found += len(out.Messages)
			if q.Before = out.Next; q.Before == "" {
				break
			}
		}
		if found != 600 {
			t.Errorf("%d found", found)
		}
	})
}

func TestSearch_HostileQueries_FindOrRefuse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.says(alice, bob, "plain and simple")
		r.wants(search.Query{Account: alice, Words: "plain"}, "plain and simple")
		for _, words := range []string{
			`"`, `""`, `"""`, `plain"`, `"plain`, `plain*`, `^plain`, `words:plain`, `NEAR(plain simple)`, `plain AND`, `OR`, `NOT`, `plain NOT simple`,
			`-plain`, `+plain`, `(plain`, `plain)`, `{words}:plain`, `plain' OR 1=1 --`, `plain; DROP TABLE texts`, "plain\x00simple", `\`, `%`, `_`, "\ue000c1", "\ue000o",
			strings.Repeat("a ", 17), strings.Repeat("a", 512), strings.Repeat(`"`, 300), "ﷺ", "a\u0301\u0301\u0301",
		} {
			out, err := r.service.Search(t.Context(), search.Query{Account: alice, Words: words})
			if err != nil && !errors.Is(err, search.ErrQuery) {
				t.Errorf("%q: %v", words, err)
			}
			for _, hit := range out.Messages {
				if !strings.Contains(strings.ToLower(words), "plain") {
					t.Errorf("%q finds %q", words, hit.Message.Payload)
				}
			}
		}
		for _, q := range []search.Query{
			{},
			{Words: "plain", Limit: -1},
			{Words: "plain", Limit: 201},
			{Words: strings.Repeat("a", 513)},
			{Words: "\xff"},
			{Words: "plain", Before: "-1"},
			{Words: "plain", Before: "!"},
			{Words: "...", Files: true},
		} {
			q.Account = alice
			if _, err := r.service.Search(t.Context(), q); !errors.Is(err, search.ErrQuery) {
				t.Errorf("%+v: %v", q, err)
			}
		}
		r.wants(search.Query{Account: alice, Words: "plain"}, "plain and simple")
	})
}

// TestIndex_EventsReadTwice_Once takes the cursor back, as a crash of a lesser file would.
func TestIndex_EventsReadTwice_Once(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for i := range 5 {
			r.says(alice, bob, fmt.Sprint("again ", i))
			r.inGroup(alice, party, carol, fmt.Sprint("again in the group ", i))
		}
		q := search.Query{Account: alice, Words: "again"}
		once := textsOf(r.ask(q))
		if len(once) != 10 {
			t.Fatalf("%q", once)
		}
		r.stop()
		r.sql("UPDATE accounts SET seq = 0")
		r.start()
		r.wants(q, once...)
		if n := r.count("SELECT count(*) FROM documents WHERE place > 0"); n != 10 {
			t.Errorf("%d documents", n)
		}
	})
}

// TestIndex_LongConversations_InSteps has more messages than are written at once, in two
// conversations, and builds their index again while it is busy.
func TestIndex_LongConversations_InSteps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for i := range 2400 {
			r.guid++
			do[store.Accepted](r, store.AcceptMessage{
				Account: alice, Conversation: with([]identity.PublicKey{bob, carol}[i%2]), GUID: r.guid, SendTime: r.next(), Payload: fmt.Appendf(nil, "text %d", i),
			})
		}
		r.service.Rebuild()
		r.says(anna, bob, "text of anna")
		q := search.Query{Account: alice, Words: "text", Limit: 200}
		found := 0
		for {
			out := r.ask(q)
			found += len(out.Messages)
			if q.Before = out.Next; q.Before == "" {
				break
			}
		}
		if n := r.count("SELECT count(*) FROM documents WHERE place > 0 AND conversation > 0"); found != 2400 || n != 2401 {
			t.Errorf("%d found, %d in the index", found, n)
		}
		r.wants(search.Query{Account: anna, Words: "text"}, "text of anna")
	})
}

// TestIndex_TrimmedLog_NothingMissing builds the index again from a log without its
// beginning, and goes on with one that was trimmed behind the cursor.
func TestIndex_TrimmedLog_NothingMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.says(alice, bob, "an old text")
		r.inGroup(alice, party, carol, "an old text of the group")
		r.says(anna, bob, "an old text of anna")
		old := []string{"an old text of the group", "an old text"}
		r.wants(search.Query{Account: alice, Words: "text"}, old...)
		trim := func() {
			t.Helper()
			events, err := r.store.Events(alice, 0, 100)
			r.must(err)
			do[store.Expired](r, store.TrimEvents{Account: alice, Events: events[:len(events)-1]})
		}
		trim()
		r.service.Rebuild()
		r.says(alice, bob, "a new text")
		r.wants(search.Query{Account: alice, Words: "text"}, append([]string{"a new text"}, old...)...)
		r.stop()
		r.says(alice, bob, "a text while it is stopped")
		r.says(alice, carol, "the last text")
		trim()
		r.start()
		r.wants(search.Query{Account: alice, Words: "text"}, append([]string{"the last text", "a text while it is stopped", "a new text"}, old...)...)
		r.wants(search.Query{Account: anna, Words: "text"}, "an old text of anna")
		if names := r.ask(search.Query{Account: alice, Words: "party"}).Names; len(names) != 1 {
			t.Errorf("names: %v", names)
		}
	})
}

// TestIndex_KilledInBetween_GoesOn leaves the files as a killed process does.
func TestIndex_KilledInBetween_GoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.says(alice, bob, "before the copy")
		r.wants(search.Query{Account: alice, Words: "before"}, "before the copy")
		copied := r.copyFiles()
		r.says(alice, bob, "after the copy")
		r.wants(search.Query{Account: alice, Words: "copy"}, "after the copy", "before the copy")
		r.stop()
		r.putFiles(copied)
		r.start()
		r.wants(search.Query{Account: alice, Words: "copy"}, "after the copy", "before the copy")
	})
}

func TestIndex_Damaged_BuiltAgain(t *testing.T) {
	for _, test := range []struct {
		name   string
		damage func(r *rig)
	}{
		{"missing", func(r *rig) { r.must(os.RemoveAll(r.file())) }},
		{"not a database", func(r *rig) { r.must(os.WriteFile(r.file(), []byte(strings.Repeat("no database ", 1000)), 0o600)) }},
		{"cut", func(r *rig) { r.must(os.Truncate(r.file(), r.size()/2)) }},
		{"zeroes", func(r *rig) {
			f, err := os.OpenFile(r.file(), os.O_RDWR, 0)
			r.must(err)
			_, err = f.WriteAt(make([]byte, 8192), 8192)
			r.must(errors.Join(err, f.Close()))
		}},
		{"another version", func(r *rig) { r.sql("PRAGMA user_version = 99") }},
		{"without a table", func(r *rig) { r.sql("DROP TABLE documents") }},
		{"of another log", func(r *rig) { r.sql("UPDATE accounts SET mark = x'00'") }},
		{"ahead of the log", func(r *rig) { r.sql("UPDATE accounts SET seq = seq + 1000") }},
		{"with words missing", func(r *rig) { r.sql("DELETE FROM texts_data WHERE id > 10") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				r.says(alice, bob, "sound and safe")
				r.says(anna, carol, "sound asleep")
				r.wants(search.Query{Account: alice, Words: "sound"}, "sound and safe")
				r.wants(search.Query{Account: anna, Words: "sound"}, "sound asleep")
				r.stop()
				test.damage(r)
				r.start()
				r.wants(search.Query{Account: alice, Words: "sound"}, "sound and safe")
				r.wants(search.Query{Account: anna, Words: "sound"}, "sound asleep")
			})
		})
	}
}

func TestIndex_RebuildOnRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.says(alice, bob, "find me")
		r.wants(search.Query{Account: alice, Words: "find"}, "find me")
		r.sql("DELETE FROM texts_data WHERE id > 10", "DELETE FROM texts_idx")
		r.service.Rebuild()
		r.says(alice, carol, "find me too")
		r.wants(search.Query{Account: alice, Words: "find"}, "find me too", "find me")
	})
}

func TestIndex_DiskLow_Waits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.says(alice, bob, "before")
		r.wants(search.Query{Account: alice, Words: "before"}, "before")
		r.diskLow.Store(true)
		r.says(alice, bob, "short of space")
		out, err := r.service.Search(t.Context(), search.Query{Account: alice, Words: "space"})
		if err != nil || len(out.Messages) != 0 || out.Unread == 0 {
			t.Errorf("%+v, %v", out, err)
		}
		r.diskLow.Store(false)
		r.service.Rebuild() // does not wait
		r.wants(search.Query{Account: alice, Words: "space"}, "short of space")
	})
}

func TestSearch_NotRunning_SaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.wants(search.Query{Account: alice, Words: "nothing"})
		r.stop()
		if _, err := r.service.Search(t.Context(), search.Query{Account: alice, Words: "nothing"}); !errors.Is(err, search.ErrNotReady) {
			t.Error(err)
		}
		if info, err := os.Stat(r.file()); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info, err)
		}
	})
}
