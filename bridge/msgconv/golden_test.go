// SPDX-License-Identifier: MPL-2.0

package msgconv

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/store"
)

var update = flag.Bool("update", false, "write the golden files anew")

// eachGolden calls render with the content of every JSON file in a folder below
// testdata, and compares what it returns with the file beside it.
func eachGolden(t *testing.T, folder string, render func(t *testing.T, input []byte) string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join("testdata", folder, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%d inputs, %v", len(files), err)
	}
	for _, file := range files {
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		t.Run(name, func(t *testing.T) {
			input, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			have := render(t, input)
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(have), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if have != string(want) {
				t.Errorf("have:\n%s\nwant:\n%s", have, want)
			}
		})
	}
}

// TestGoldenFromMatrix converts events to messages, which ==== separates.
func TestGoldenFromMatrix(t *testing.T) {
	names := func(user id.UserID) string { return strings.ToUpper(user.Localpart()) }
	eachGolden(t, "frommatrix", func(t *testing.T, input []byte) string {
		var content event.MessageEventContent
		if err := json.Unmarshal(input, &content); err != nil {
			t.Fatal(err)
		}
		text := TextFromMatrix(&content, names)
		if content.MsgType == event.MsgLocation {
			text = LocationFromMatrix(&content)
		}
		return strings.Join(SplitOutgoing(text), "\n====\n") + "\n"
	})
}

// TestGoldenToMatrix converts messages to events. Files have no URL yet.
func TestGoldenToMatrix(t *testing.T) {
	eachGolden(t, "tomatrix", func(t *testing.T, input []byte) string {
		var in struct {
			Type int32
			Text string
			File *File
		}
		if err := json.Unmarshal(input, &in); err != nil {
			t.Fatal(err)
		}
		var contents []*event.MessageEventContent
		if in.File != nil {
			contents = []*event.MessageEventContent{FileToMatrix(*in.File)}
		} else {
			contents = TextToMatrix(store.Message{Type: in.Type, Payload: []byte(in.Text)})
		}
		var out bytes.Buffer
		encoder := json.NewEncoder(&out)
		encoder.SetIndent("", "  ")
		encoder.SetEscapeHTML(false)
		for _, content := range contents {
			if err := encoder.Encode(content); err != nil {
				t.Fatal(err)
			}
		}
		return out.String()
	})
}
