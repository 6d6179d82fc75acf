// SPDX-License-Identifier: MPL-2.0

package dendrite_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/mimird/mimird/test/dendrite"
)

// withFakeGo makes Build run this test program as its go command. It returns
// options for an empty cache and a function that counts the builds so far.
func withFakeGo(t *testing.T, how string) (dendrite.BuildOptions, func() int) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	note := filepath.Join(t.TempDir(), "builds")
	t.Setenv(fakeGoEnv, how+":"+note)
	builds := func() int {
		text, err := os.ReadFile(note)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		return strings.Count(string(text), "build")
	}
	return dendrite.BuildOptions{CacheDir: t.TempDir(), GoCommand: self}, builds
}

func TestBuildCompilesOnceAndReports(t *testing.T) {
	opts, builds := withFakeGo(t, "work")
	var reports []dendrite.Progress
	opts.Progress = func(p dendrite.Progress) { reports = append(reports, p) }
	program, err := dendrite.Build(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(program); err != nil || string(text) != "program" {
		t.Fatalf("program is %q, %v", text, err)
	}
	first, last := reports[0], reports[len(reports)-1]
	if first.Stage != dendrite.StageDownload || last != (dendrite.Progress{Stage: dendrite.StageCompile, Done: 2, Total: 2}) {
		t.Errorf("reports begin with %+v and end with %+v", first, last)
	}

	reports = nil
	again, err := dendrite.Build(t.Context(), opts)
	if err != nil || again != program || builds() != 1 || len(reports) != 0 {
		t.Errorf("second call: %q, %v, %d builds, reports %v", again, err, builds(), reports)
	}
}

func TestBuildCompilesOnceForManyCallers(t *testing.T) {
	opts, builds := withFakeGo(t, "work")
	var callers sync.WaitGroup
	for range 8 {
		callers.Go(func() {
			if _, err := dendrite.Build(t.Context(), opts); err != nil {
				t.Error(err)
			}
		})
	}
	callers.Wait()
	if n := builds(); n != 1 {
		t.Errorf("compiled %d times", n)
	}
}

func TestBuildTakesTheCacheFromTheEnvironment(t *testing.T) {
	opts, _ := withFakeGo(t, "work")
	cache := t.TempDir()
	t.Setenv(dendrite.CacheEnv, cache)
	opts.CacheDir = ""
	program, err := dendrite.Build(t.Context(), opts)
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Dir(filepath.Dir(program)) != cache {
		t.Errorf("built %s, want it below %s", program, cache)
	}
}

func TestBuildFailureLeavesNothingAndSaysWhy(t *testing.T) {
	opts, _ := withFakeGo(t, "fail")
	if _, err := dendrite.Build(t.Context(), opts); err == nil || !strings.Contains(err.Error(), "syntax error") {
		t.Fatalf("error is %v", err)
	}
	opts2, _ := withFakeGo(t, "work")
	opts2.CacheDir = opts.CacheDir
	if _, err := dendrite.Build(t.Context(), opts2); err != nil {
		t.Errorf("after the failure: %v", err)
	}
}

func TestBuildEndsWithItsContext(t *testing.T) {
	opts, _ := withFakeGo(t, "hang")
	ctx, cancel := context.WithCancel(t.Context())
	opts.Progress = func(p dendrite.Progress) {
		if p.Stage == dendrite.StageCompile {
			cancel()
		}
	}
	if _, err := dendrite.Build(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v", err)
	}
}

func TestBuildWaitingForAnotherEndsWithItsContext(t *testing.T) {
	opts, _ := withFakeGo(t, "hang")
	holding, release := context.WithCancel(t.Context())
	building := make(chan struct{})
	var others sync.WaitGroup
	others.Go(func() {
		first := opts
		first.Progress = func(p dendrite.Progress) {
			if p.Stage == dendrite.StageCompile {
				close(building)
			}
		}
		if _, err := dendrite.Build(holding, first); !errors.Is(err, context.Canceled) {
			t.Errorf("first build: %v", err)
		}
	})
	<-building
	ctx, cancel := context.WithCancel(t.Context())
	opts.Progress = func(p dendrite.Progress) {
		if p.Stage != dendrite.StageWait {
			t.Errorf("second build went on to %v", p)
		}
		cancel()
	}
	if _, err := dendrite.Build(ctx, opts); !errors.Is(err, context.Canceled) {
		t.Errorf("second build: %v", err)
	}
	release()
	others.Wait()
}

func TestBuildWithoutGoSaysWhatToInstall(t *testing.T) {
	_, err := dendrite.Build(t.Context(), dendrite.BuildOptions{
		CacheDir:  t.TempDir(),
		GoCommand: filepath.Join(t.TempDir(), "go"),
	})
	if !errors.Is(err, dendrite.ErrNoToolchain) || !strings.Contains(err.Error(), "install Go") {
		t.Errorf("error is %v", err)
	}
}

func TestPinnedVersionIsTheOneNamed(t *testing.T) {
	pins, err := os.ReadFile("dendrite.mod")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(strings.Fields(string(pins)), dendrite.Version) ||
		!strings.Contains(string(pins), "github.com/element-hq/dendrite "+dendrite.Version) {
		t.Errorf("dendrite.mod does not require %s", dendrite.Version)
	}
}
