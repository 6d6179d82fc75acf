// SPDX-License-Identifier: MPL-2.0

package demo_test

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/test/demo"
	"github.com/mimird/mimird/test/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The whole story, end to end: Mimir to Matrix and back, over a real Yggdrasil
// network, with a real homeserver and a killed process. Bars R01 and R02 in small.
func TestDemoTellsItsStoryToTheEnd(t *testing.T) {
	program := filepath.Join(t.TempDir(), "mimird")
	if err := process.BuildMimird(t.Context(), program); err != nil {
		t.Fatal(err)
	}
	var story bytes.Buffer
	told, err := demo.Run(t.Context(), demo.Options{Program: program, Out: &story})
	if err != nil {
		t.Fatalf("%v\n%s", err, story.String())
	}
	for _, s := range told {
		if !s.OK {
			t.Errorf("%s: %s", s.Title, s.Detail)
		}
	}
	if want := "demo: 14/14 steps ok"; !strings.Contains(story.String(), want) {
		t.Errorf("the story does not end with %q:\n%s", want, story.String())
	}
}
