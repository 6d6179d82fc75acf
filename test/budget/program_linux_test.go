// SPDX-License-Identifier: MPL-2.0

package budget_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/poll"
	"github.com/mimird/mimird/test/process"
)

const (
	// maxFirstOutput is how long people wait until mimird up shows their link.
	maxFirstOutput = 300 * time.Millisecond
	// maxProgram is the memory of the whole program with 50 contacts in session.
	maxProgram = 80 * mib
	// ticksPerSecond is the unit of processor time in /proc on every architecture of Linux
	// that programs see.
	ticksPerSecond = 100
)

// program is mimird up as users run it.
type program struct {
	t    *testing.T
	path string
	dir  string
	cmd  *exec.Cmd
	// firstOutput is the time from the start of the process to the line with the link.
	firstOutput time.Duration
}

// start runs the program until its link was shown.
func (p *program) start() {
	p.t.Helper()
	p.cmd = exec.CommandContext(context.Background(), p.path, "up", "--no-qr", "--name", "budget", "--data", p.dir)
	p.cmd.Env = append(os.Environ(), "MIMIRD_DATA=", "GOGC=")
	log, err := os.Create(p.dir + ".log")
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = log.Close() }()
	p.cmd.Stderr = log
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	began := time.Now()
	if err := p.cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	shown := make(chan time.Duration, 1)
	go func() {
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			if strings.Contains(lines.Text(), "mimir://") {
				select {
				case shown <- time.Since(began):
				default: // shown before
				}
			}
		}
		close(shown)
	}()
	var ok bool
	if p.firstOutput, ok = <-shown; !ok {
		text, _ := os.ReadFile(p.dir + ".log")
		p.t.Fatalf("the program has shown no link: %v\n%s", p.cmd.Wait(), text)
	}
}

func (p *program) stop() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Fatal(err)
	}
}

// processor returns the processor time that the program has used, in user and kernel mode.
func (p *program) processor() time.Duration {
	p.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	fields := strings.Fields(string(raw[strings.LastIndexByte(string(raw), ')')+1:]))
	var ticks time.Duration
	for _, field := range fields[11:13] { // utime and stime; see proc(5)
		n, err := strconv.Atoi(field)
		if err != nil {
			p.t.Fatal(err)
		}
		ticks += time.Duration(n)
	}
	return ticks * time.Second / ticksPerSecond
}

// resident returns the memory of the program in bytes.
func (p *program) resident() int {
	p.t.Helper()
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		p.t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(raw), "VmRSS:")
	kilobytes, err := strconv.Atoi(strings.Fields(rest)[0])
	if err != nil {
		p.t.Fatal(err)
	}
	return kilobytes * kib
}

// TestProgram measures the program as users run it: when its link is shown, at the first
// start and at others, and what it costs with 50 quiet contacts, in session with all of them.
func TestProgram(t *testing.T) {
	const contacts, starts = 50, 5
	if !*all {
		return // its figures are times, which say nothing on a busy machine
	}
	address, err := process.FreeAddress(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	p := &program{t: t, path: filepath.Join(t.TempDir(), "mimird"), dir: filepath.Join(t.TempDir(), "data")}
	if err := process.BuildMimird(t.Context(), p.path); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("yggdrasil: {peers: [], listen: [\"tcp://%s\"]}\ntrackers: []\n", address)
	if err := os.WriteFile(filepath.Join(p.dir, "mimird.yaml"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	p.start()
	first, best, least := p.firstOutput, time.Hour, time.Hour
	for range starts {
		p.stop()
		p.start()
		best, least = min(best, p.firstOutput), min(least, p.processor())
	}
	defer p.stop()
	show("%6d ms to the first output, %d ms at the first start; %d ms of one core", best.Milliseconds(), first.Milliseconds(), least.Milliseconds())
	if best > maxFirstOutput {
		t.Errorf("the first output takes %v", best)
	}

	api := client.New(filepath.Join(p.dir, "control.sock"))
	defer api.Close()
	status, err := api.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range contacts {
		if _, err := api.AddContact(t.Context(), "-", identity.PublicKey(caller(i).Key()).String()); err != nil {
			t.Fatal(err)
		}
	}
	node, err := identity.ParseNodeKey(status.Node)
	if err != nil {
		t.Fatal(err)
	}
	owner, err := identity.ParsePublicKey(status.Accounts[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	phones := startPhones(t, order{Peer: "tcp://" + address, Node: node, Owner: owner, Count: contacts, Contacts: contacts})
	ctx, cancel := context.WithTimeout(t.Context(), patience())
	defer cancel()
	sessions := 0
	if !poll.Until(ctx, func() bool {
		status, err := api.Status(ctx)
		sessions = status.Sessions
		return err == nil && sessions == contacts && strings.Contains(phones.LogTail(), allCalled)
	}) {
		t.Fatalf("%d sessions\n%s", sessions, phones.LogTail())
	}
	const watch = time.Minute
	before := p.processor()
	poll.Pass(t.Context(), watch)
	used := (p.processor() - before).Seconds() / watch.Seconds()
	memory := p.resident()
	show("%6d quiet contacts of the program: %.2f %% of one core, %d MiB", contacts, 100*used, memory/mib)
	if used > maxIdle {
		t.Errorf("%.2f %% of one core for nothing", 100*used)
	}
	if memory > maxProgram {
		t.Errorf("%d MiB of memory", memory/mib)
	}
}
