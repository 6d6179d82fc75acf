// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"
)

var update = flag.Bool("update", false, "write the golden files anew")

// eachGolden calls make with the content of every JSON file in a folder below
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

// What is written in Matrix, as the contact gets it. Lines of signs are between
// messages.
func TestGoldenFromMatrix(t *testing.T) {
	names := func(user id.UserID) string { return strings.ToUpper(user.Localpart()) }
	eachGolden(t, "frommatrix", func(t *testing.T, input []byte) string {
		var content event.MessageEventContent
		if err := json.Unmarshal(input, &content); err != nil {
			t.Fatal(err)
		}
		text := outgoingText(&content, names)
		if content.MsgType == event.MsgLocation {
			text = locationText(&content)
		}
		return strings.Join(splitOutgoing(text), "\n====\n") + "\n"
	})
}
