// SPDX-License-Identifier: MPL-2.0

package crashpoint_test

import (
	"os"
	"os/exec"
	"slices"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/crashpoint"
)

// passEnv makes the test program pass all points that many times.
const passEnv = "MIMIRD_TEST_PASS"

func TestMain(m *testing.M) {
	if os.Getenv(passEnv) != "" {
		for range 3 {
			for _, n := range crashpoint.Names() {
				crashpoint.At(n)
			}
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func TestProcessEndsAtTheChosenPoint(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for value, dies := range map[string]bool{
		"":                                 false,
		"no-such-point":                    false,
		string(crashpoint.BeforeOK):        true,
		string(crashpoint.BeforeOK) + ":3": true,
		string(crashpoint.BeforeOK) + ":4": false,
		string(crashpoint.BeforeOK) + ":malformed": true,
	} {
		cmd := exec.CommandContext(t.Context(), self)
		cmd.Env = append(os.Environ(), passEnv+"=1", crashpoint.Env+"="+value)
		if err := cmd.Run(); (err != nil) != dies {
			t.Errorf("%q: %v", value, err)
		}
	}
}

func TestNamesAreDistinct(t *testing.T) {
	names := crashpoint.Names()
	slices.Sort(names)
	if len(slices.Compact(slices.Clone(names))) != len(names) {
		t.Errorf("some name is there twice: %v", names)
	}
}
