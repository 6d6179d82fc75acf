// SPDX-License-Identifier: MPL-2.0

//go:build unix

package process_test

import (
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/test/poll"
	"github.com/mimird/mimird/test/process"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func start(t *testing.T, script string) *process.Process {
	t.Helper()
	p, err := process.Start(process.Spec{
		Program: "/bin/sh", Args: []string{"-c", script}, Log: filepath.Join(t.TempDir(), "log"), Env: []string{"MARK=here"},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = p.Kill() })
	return p
}

func TestProcessLogsWhatItPrints(t *testing.T) {
	p := start(t, "echo out $MARK; echo err >&2; exit 3")
	<-p.Ended()
	if p.Err() == nil {
		t.Error("exit code 3 is not an error")
	}
	if tail := p.LogTail(); tail != "out here\nerr" {
		t.Errorf("log: %q", tail)
	}
	if err := p.Kill(); err != nil {
		t.Errorf("killing an ended process: %v", err)
	}
}

func TestStop_SendsTERM_Kill_DoesNot(t *testing.T) {
	const script = "trap 'echo polite; exit 0' TERM; echo ready; while :; do sleep 0.05; done"
	for _, c := range []struct {
		name   string
		end    func(*process.Process) error
		polite bool
	}{{"stop", (*process.Process).Stop, true}, {"kill", (*process.Process).Kill, false}} {
		t.Run(c.name, func(t *testing.T) {
			p := start(t, script)
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if !poll.Until(ctx, func() bool { return strings.Contains(p.LogTail(), "ready") }) {
				t.Fatal("does not start")
			}
			if err := c.end(p); err != nil {
				t.Fatal(err)
			}
			if got := strings.Contains(p.LogTail(), "polite"); got != c.polite {
				t.Errorf("polite: %v", got)
			}
			if err := syscall.Kill(p.PID(), 0); err == nil {
				t.Error("the process is still there")
			}
		})
	}
}

func TestStartFailsWithoutTheProgram(t *testing.T) {
	_, err := process.Start(process.Spec{Program: "/does/not/exist", Log: filepath.Join(t.TempDir(), "log")})
	if err == nil || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v", err)
	}
}
