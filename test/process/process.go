// SPDX-License-Identifier: MPL-2.0

// Package process starts programs for tests and for mimird-demo, and makes sure
// that none is left behind: each is the leader of a process group of its own, and
// on Linux it ends with the process that started it, however that ends.
package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"time"
)

const (
	// stopGrace is how long a program may take to end by itself.
	stopGrace = 15 * time.Second
	maxTail   = 4 << 10
)

// Spec says what to start.
type Spec struct {
	// Program and its arguments. Required.
	Program string
	Args    []string
	// Dir is the working directory, "" for ours.
	Dir string
	// Env is added to ours.
	Env []string
	// Log is the file that gets what the program prints, after what is in it.
	// Required.
	Log string
}

// Process is a program that was started. Its methods may be called from any
// goroutine.
type Process struct {
	spec   Spec
	handle *os.Process
	ended  chan struct{}
	err    error // set before ended is closed

	mu sync.Mutex
}

// Start starts a program. The caller calls Stop or Kill.
func Start(spec Spec) (*Process, error) {
	log, err := os.OpenFile(spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	defer func() { _ = log.Close() }()              // the process has its own
	cmd := exec.Command(spec.Program, spec.Args...) //nolint:noctx // the process outlives every context; Stop and Kill end it
	cmd.Dir = spec.Dir
	cmd.Env = append(os.Environ(), spec.Env...)
	cmd.Stdout, cmd.Stderr = log, log
	ownGroup(cmd)

	p := &Process{spec: spec, ended: make(chan struct{})}
	started := make(chan error)
	// The process belongs to a goroutine that keeps its thread until the process
	// has ended, because the kernel ties the one to the other: see dieWithParent.
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		if err := cmd.Start(); err != nil {
			started <- err
			return
		}
		p.handle = cmd.Process
		started <- nil
		p.err = cmd.Wait()
		close(p.ended)
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.Program, err)
	}
	return p, nil
}

// Run runs a command to its end, in a process group of its own that ends with the
// command's context and, on Linux, with this process. grace is how long its
// output is waited for when it was killed.
func Run(cmd *exec.Cmd, grace time.Duration) error {
	ownGroup(cmd)
	cmd.Cancel = func() error { return killGroup(cmd.Process) }
	cmd.WaitDelay = grace
	runtime.LockOSThread() // see dieWithParent
	defer runtime.UnlockOSThread()
	return cmd.Run()
}

// PID is the number of the process.
func (p *Process) PID() int { return p.handle.Pid }

// Ended is closed when the process has ended.
func (p *Process) Ended() <-chan struct{} { return p.ended }

// Err says how the process ended: nil before that and for exit code 0.
func (p *Process) Err() error {
	select {
	case <-p.ended:
		return p.err
	default:
		return nil
	}
}

// Stop asks the program to end, kills it when it does not within 15 seconds, and
// returns when it is gone.
func (p *Process) Stop() error { return p.end(stopGroup) }

// Kill ends the process at once, as SIGKILL does, and returns when it is gone.
func (p *Process) Kill() error { return p.end(killGroup) }

func (p *Process) end(ask func(*os.Process) error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.ended: // by itself; its number may be another process's now
		return nil
	default:
	}
	if err := ask(p.handle); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("end %s: %w", p.spec.Program, err)
	}
	grace := time.NewTimer(stopGrace)
	defer grace.Stop()
	select {
	case <-p.ended:
	case <-grace.C:
		if err := killGroup(p.handle); err != nil && !errors.Is(err, os.ErrProcessDone) {
			return fmt.Errorf("kill %s: %w", p.spec.Program, err)
		}
		<-p.ended
	}
	return nil
}

// LogTail returns the end of the log, as far as it can be read.
func (p *Process) LogTail() string {
	file, err := os.Open(p.spec.Log)
	if err != nil {
		return err.Error()
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return err.Error()
	}
	var tail strings.Builder
	if _, err := io.Copy(&tail, io.NewSectionReader(file, max(0, info.Size()-maxTail), maxTail)); err != nil {
		return err.Error()
	}
	return strings.TrimSpace(tail.String())
}
