// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/mimird/mimird/actors/backup"
	"github.com/mimird/mimird/actors/backup/schedule"
)

// TestMain makes the test binary stand in for the program: scripts run it as
// mimird.
func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"mimird": func() {
		backup.SetWorkForTest(10) // a second and more each time otherwise
		schedule.SetStartDelayForTest(0)
		release = os.Getenv("TEST_RELEASE")
		serviceSystem = cmp.Or(os.Getenv("TEST_SYSTEM"), serviceSystem)
		main()
	}})
}

// leakChecked runs the tests and fails when goroutines are left.
type leakChecked struct{ m *testing.M }

func (l leakChecked) Run() int {
	code := l.m.Run()
	if code != 0 {
		return code
	}
	// The goroutine of a log file, of which a process has one, never ends.
	if err := goleak.Find(goleak.IgnoreTopFunction("gopkg.in/natefinch/lumberjack%2ev2.(*Logger).millRun")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// The program as people and service managers use it: one script per command or
// situation. What scripts can do beyond testscript is in commands_test.go.
func TestScript(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:  "testdata/script",
		Cmds: commands(),
		Setup: func(env *testscript.Env) error {
			watchRaces(env)
			env.Values[worldKey{}] = newWorld(env)
			return nil
		},
		Condition: func(name string) (bool, error) {
			if name != "root" {
				return false, fmt.Errorf("unknown condition %s", name)
			}
			return os.Geteuid() == 0, nil // whom no mode keeps from writing
		},
		RequireExplicitExec: true,
		RequireUniqueNames:  true,
	})
}

// watchRaces fails a script when a program that it has run reports a data race that is not
// one of a library. Without the race detector there are no reports.
func watchRaces(env *testscript.Env) {
	reports := filepath.Join(env.WorkDir, ".race")
	known, err := filepath.Abs(filepath.Join("..", "..", "test", "races.txt"))
	if err != nil {
		env.T().Fatal(err)
	}
	// By itself a program under the race detector sleeps for a second before it ends.
	env.Setenv("GORACE", fmt.Sprintf("exitcode=0 atexit_sleep_ms=20 log_path=%s suppressions='%s'", reports, known))
	env.Defer(func() {
		files, err := filepath.Glob(reports + ".*")
		if err != nil {
			env.T().Fatal(err)
		}
		for _, file := range files {
			raw, err := os.ReadFile(file)
			if err != nil {
				env.T().Fatal(err)
			}
			for report := range strings.SplitSeq(string(raw), "==================") {
				if strings.Contains(report, "WARNING: DATA RACE") {
					env.T().Fatal(report)
				}
			}
		}
	})
}
