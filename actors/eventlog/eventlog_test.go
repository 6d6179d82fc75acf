// SPDX-License-Identifier: MPL-2.0

package eventlog_test

import (
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/eventlog"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/peer"
)

// TestKinds_EveryStoredKind_HasMeaning goes through the numbers of the store until one
// has no name.
func TestKinds_EveryStoredKind_HasMeaning(t *testing.T) {
	kinds := eventlog.Kinds()
	for n, kind := range kinds {
		if kind.Kind != store.EventKind(n+1) || kind.Meaning == "" {
			t.Errorf("kind %d is %s, %q", n+1, kind.Kind, kind.Meaning)
		}
	}
	next := store.EventKind(len(kinds) + 1)
	if name := next.String(); !strings.HasPrefix(name, "unknown(") {
		t.Errorf("%s has no meaning", name)
	}
}

// table writes rows as docs/events.md has them.
func table(head string, rows [][]string) string {
	var text strings.Builder
	fmt.Fprintf(&text, "%s\n", head)
	for _, row := range rows {
		fmt.Fprintf(&text, "| %s |\n", strings.Join(row, " | "))
	}
	return text.String()
}

func fieldList(fields []string) string {
	quoted := make([]string, len(fields))
	for i, field := range fields {
		quoted[i] = "`" + field + "`"
	}
	return strings.Join(quoted, ", ")
}

// TestDocs_ListExactlyTheseNames holds docs/events.md to the names and meanings here.
func TestDocs_ListExactlyTheseNames(t *testing.T) {
	raw, err := os.ReadFile("../../docs/events.md")
	if err != nil {
		t.Fatal(err)
	}
	var kinds, types [][]string
	for _, k := range eventlog.Kinds() {
		kinds = append(kinds, []string{"`" + k.Kind.String() + "`", k.Meaning, fieldList(k.Fields)})
	}
	for _, k := range eventlog.Types() {
		types = append(types, []string{fmt.Sprint(int32(k.Type)), "`" + k.Name + "`", k.Meaning, fieldList(k.Fields)})
	}
	types = append(types, []string{"others", "`" + eventlog.Unknown + "`", "a type that this program does not know; apps show it as text", ""})
	for _, want := range []string{
		table("| kind | meaning | fields |\n|---|---|---|", kinds),
		table("| type | name | meaning | fields |\n|---|---|---|---|", types),
	} {
		if !strings.Contains(string(raw), "\n\n"+want+"\n") && !strings.HasSuffix(string(raw), "\n\n"+want) {
			t.Errorf("docs/events.md lacks the table\n%s", want)
		}
	}
}

// TestFields_AreThoseOfTheAPI holds the names of fields to what the API writes.
func TestFields_AreThoseOfTheAPI(t *testing.T) {
	for _, of := range []struct {
		value any
		named []string
	}{
		{control.Event{}, slices.Concat([]string{"seq", "kind", "time"}, kindFields())},
		{control.Message{}, typeFields()},
	} {
		var have []string
		for field := range reflect.TypeOf(of.value).Fields() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			have = append(have, name)
		}
		for _, name := range of.named {
			if !slices.Contains(have, name) {
				t.Errorf("%T has no field %q", of.value, name)
			}
		}
		if _, isEvent := of.value.(control.Event); isEvent {
			for _, name := range have {
				if !slices.Contains(of.named, name) {
					t.Errorf("no kind of event has the field %q", name)
				}
			}
		}
	}
}

func kindFields() (fields []string) {
	for _, k := range eventlog.Kinds() {
		fields = append(fields, k.Fields...)
	}
	return fields
}

func typeFields() (fields []string) {
	for _, k := range eventlog.Types() {
		fields = append(fields, k.Fields...)
	}
	return fields
}

func TestContent_OfEveryType(t *testing.T) {
	reaction := peer.Reaction{Emoji: "👍", Target: 7}
	for _, test := range []struct {
		m       store.Message
		name    string
		text    string
		emoji   string
		hasFile bool
	}{
		{store.Message{Payload: []byte("hello")}, "text", "hello", "", false},
		{store.Message{Payload: []byte{0xff}}, "text", "", "", false},
		{store.Message{Type: int32(peer.TypeImage), Payload: []byte("{}")}, "image", "", "", true},
		{store.Message{Type: int32(peer.TypeFile), Payload: []byte("{}")}, "file", "", "", true},
		{store.Message{Type: int32(peer.TypeReaction), Payload: reaction.AppendTo(nil)}, "reaction", "", "👍", false},
		{store.Message{Type: int32(peer.TypeReaction), Payload: []byte("none")}, "reaction", "", "", false},
		{store.Message{Type: 77, Payload: []byte("hello")}, eventlog.Unknown, "", "", false},
	} {
		text, _ := eventlog.Text(test.m)
		r, _ := eventlog.Reaction(test.m)
		if name := eventlog.TypeName(test.m); name != test.name || text != test.text || r.Emoji != test.emoji || eventlog.HasFile(test.m) != test.hasFile {
			t.Errorf("%+v: %s, %q, %q, %v", test.m, name, text, r.Emoji, eventlog.HasFile(test.m))
		}
	}
	if _, err := json.Marshal(control.Event{}); err != nil {
		t.Error(err)
	}
}
