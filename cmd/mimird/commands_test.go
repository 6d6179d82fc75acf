// SPDX-License-Identifier: MPL-2.0

//go:build unix

package main

import (
	"archive/zip"
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/fxamacker/cbor/v2"
	"github.com/rogpeppe/go-internal/testscript"
	"golang.org/x/sys/unix"

	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/test/dendrite"
	"github.com/mimird/mimird/test/process"
)

const (
	// patience is what everything gets that is waited for; only what is broken uses
	// it up.
	patience  = 2 * time.Minute
	pollEvery = 20 * time.Millisecond
)

// commands are what scripts can do beyond what testscript brings along.
//
//	start NAME ARG...          run mimird in the background, output in NAME.out and NAME.err
//	ready NAME [DIR]           wait until a node can be talked to; DIR is its data directory, else NAME
//	signal NAME SIGNAL...      send signals
//	ended NAME CODE            wait for the end and check the exit code
//	exits CODE ARG...          run mimird and check the exit code; an error must be one sentence
//	until PATTERN FILE         wait for a file to match
//	until PATTERN mimird ARG.. repeat a command until its output matches
//	json PATH PATTERN          check a value of the JSON in stdout
//	json PATH -> VAR           and put it into a variable
//	jsonlines FILE             every line is one JSON object
//	mode MODE FILE...          check permissions
//	qr FILE TEXT               the QR code in the file says TEXT
//	bytes FILE HEX COUNT       write bytes, repeated
//	occupy VAR                 listen on loopback; VAR is where
//	hang DIR                   send a node half a request
//	schema DIR VERSION         turn a store into one of another version
//	address VAR                a free address on loopback, and VAR_PORT
//	dendrite ADDRESS FILE...   start a Matrix homeserver with these registrations, also again
//	user NAME                  make a user of it
//	get URL STATUS             ask over HTTP, also unix:SOCKET:PATH
//	manager VAR                listen as a service manager does; VAR is where
//	heard TEXT                 wait until the service manager is told that
//	terminal NAME TERM ARG...  run mimird on a terminal of its own (Linux)
//	types NAME TEXT            type on it; \r, \x03 as in Go
//	sees NAME TEXT             wait until it shows something more
//	resize NAME WIDTH HEIGHT   give it another size
//	left NAME CODE             wait until what runs on it has ended
//	unzip FILE                 unpack an archive here
//	releases ISSUED VERSION... serve a signed release list; $RELEASES is where, $RELEASES_KEY its key
func commands() map[string]func(*testscript.TestScript, bool, []string) {
	table := map[string]func(w *world, args []string) error{
		"start": (*world).start, "ready": (*world).ready, "signal": (*world).signal, "ended": (*world).ended,
		"exits": (*world).exits, "until": (*world).until, "json": (*world).json, "jsonlines": (*world).jsonLines,
		"mode": (*world).mode, "qr": (*world).qr, "bytes": (*world).bytes, "occupy": (*world).listenOn,
		"hang": (*world).hang, "unzip": (*world).unzip, "get": (*world).get, "manager": (*world).listenAsManager, "heard": (*world).heard, "schema": (*world).schema,
		"releases": (*world).releases, "address": (*world).address, "dendrite": (*world).dendrite, "user": (*world).user,
	}
	maps.Copy(table, onTerminals())
	out := make(map[string]func(*testscript.TestScript, bool, []string), len(table))
	for name, run := range table {
		out[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			if neg {
				ts.Fatalf("unsupported: ! %s", name)
			}
			w := ts.Value(worldKey{}).(*world)
			w.ts = ts
			ts.Check(run(w, args))
		}
	}
	return out
}

type worldKey struct{}

// world is what one script has started.
type world struct {
	ts         *testscript.TestScript
	processes  map[string]*process.Process
	terminals  map[string]*terminal
	homeserver *dendrite.Server
	manager    *net.UnixConn
	list       *releaseList
}

func newWorld(env *testscript.Env) *world {
	env.Setenv("BOB", bobKey)
	env.Setenv("CAROL", carolKey)
	env.Setenv("CAROL_SHORT", carolKey[:8])
	env.Setenv("EVE", eveKey)
	env.Setenv("NOKEY", noKey)
	w := &world{processes: make(map[string]*process.Process), terminals: make(map[string]*terminal)}
	env.Defer(func() {
		for _, p := range w.processes {
			_ = p.Kill() // the script has ended, well or not
		}
		for _, t := range w.terminals {
			t.close()
		}
		if w.list != nil {
			w.list.server.Close()
		}
	})
	return w
}

func (w *world) start(args []string) error {
	if len(args) < 2 {
		return errors.New("usage: start NAME ARG...")
	}
	name, args := args[0], args[1:]
	program, err := exec.LookPath("mimird")
	if err != nil {
		return err
	}
	// The most careless umask: what is private must not depend on it.
	shell := `umask 0; exec "$0" "$@" >` + name + ".out"
	p, err := process.Start(process.Spec{
		Program: "/bin/sh", Args: append([]string{"-c", shell, program}, args...),
		Dir: w.ts.MkAbs("."), Log: w.ts.MkAbs(name + ".err"), Env: w.env(),
	})
	if err != nil {
		return err
	}
	w.processes[name] = p
	return nil
}

func (w *world) ready(args []string) error {
	name, dir := args[0], args[len(args)-1]
	api := client.New(w.ts.MkAbs(filepath.Join(dir, "control.sock")))
	defer api.Close()
	return w.eventually("the node "+name+" can be talked to", func() (bool, error) {
		if p := w.processes[name]; ended(p) {
			return false, fmt.Errorf("it has ended: %s", p.LogTail())
		}
		// A new node makes its first account after the API is there. An error means that
		// the API is not there yet.
		status, err := api.Status(context.Background())
		return err == nil && (len(status.Accounts) > 0 || status.Role != nil || status.FilesRole != nil), nil
	})
}

func (w *world) signal(args []string) error {
	for _, name := range args[1:] {
		number := unix.SignalNum("SIG" + name)
		if number == 0 {
			return fmt.Errorf("there is no signal %s", name)
		}
		if err := syscall.Kill(w.processes[args[0]].PID(), number); err != nil {
			return err
		}
	}
	return nil
}

func ended(p *process.Process) bool {
	select {
	case <-p.Ended():
		return true
	default:
		return false
	}
}

func (w *world) ended(args []string) error {
	p := w.processes[args[0]]
	select {
	case <-p.Ended():
	case <-time.After(patience):
		return fmt.Errorf("%s does not end: %s", args[0], p.LogTail())
	}
	if code := codeOf(p.Err()); code != args[1] {
		return fmt.Errorf("%s ended with exit code %s, want %s: %s", args[0], code, args[1], p.LogTail())
	}
	return nil
}

// codeOf returns the exit code that is in an error of os/exec, "signal" for a
// process that was killed.
func codeOf(err error) string {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return "0"
	case errors.As(err, &exit) && exit.ExitCode() >= 0:
		return strconv.Itoa(exit.ExitCode())
	case errors.As(err, &exit):
		return "signal"
	}
	return err.Error()
}

// command is one of mimird, to be run with process.Run.
func (w *world) command(args []string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), "mimird", args...)
	cmd.Dir = w.ts.MkAbs(".")
	cmd.Env = append(os.Environ(), w.env()...)
	return cmd
}

// env is the part of the script's environment that the program looks at.
func (w *world) env() []string {
	env := []string{"MIMIRD_DATA=" + w.ts.Getenv("MIMIRD_DATA"), "GORACE=" + w.ts.Getenv("GORACE")}
	for _, name := range []string{"MIMIRD_UNIT_DIR", "NOTIFY_SOCKET", "WATCHDOG_USEC", "TEST_RELEASE", "TEST_SYSTEM", "PATH", "WORK", "MIMIRD_CONFIG__UPDATE__URL", "MIMIRD_CONFIG__UPDATE__KEY"} {
		if value := w.ts.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// sentence is what an error looks like: one line, which says what to do next after
// a semicolon or colon, or asks.
var sentence = regexp.MustCompile(`\Amimird: [^\n]{10,400}[^\n.\s]\n\z`)

func (w *world) exits(args []string) error {
	cmd := w.command(args[1:])
	var stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = w.ts.Stdout(), io.MultiWriter(&stderr, w.ts.Stderr())
	if code := codeOf(process.Run(cmd, patience)); code != args[0] {
		return fmt.Errorf("exit code %s, want %s: %s", code, args[0], stderr.String())
	}
	if args[0] != "0" && !sentence.MatchString(lastLine(stderr.String())) && !isJSONError(stderr.String(), args[0]) {
		return fmt.Errorf("not one sentence: %q", stderr.String())
	}
	return nil
}

// isJSONError reports whether a text ends with an error as --json makes it.
func isJSONError(text, code string) bool {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	var f failure
	if json.Unmarshal([]byte(lines[len(lines)-1]), &f) != nil {
		return false
	}
	return sentence.MatchString("mimird: "+f.Error+"\n") && strconv.Itoa(f.ExitCode) == code && f.Code != ""
}

// lastLine leaves out the log, which is JSON, before the error of mimird up.
func lastLine(text string) string {
	for strings.HasPrefix(text, "{") {
		_, text, _ = strings.Cut(text, "\n")
	}
	return text
}

func (w *world) until(args []string) error {
	pattern, err := regexp.Compile("(?m)" + args[0])
	if err != nil {
		return err
	}
	var have []byte
	err = w.eventually("matches "+args[0], func() (bool, error) {
		have = nil
		if args[1] != "mimird" {
			raw, err := os.ReadFile(w.ts.MkAbs(args[1]))
			have = raw
			return pattern.Match(raw), ignore(err, fs.ErrNotExist)
		}
		cmd := w.command(args[2:])
		var stdout bytes.Buffer
		cmd.Stdout = &stdout
		err := process.Run(cmd, patience)
		have = stdout.Bytes()
		return err == nil && pattern.Match(have), nil
	})
	if err != nil {
		return fmt.Errorf("%w; it is: %s", err, have)
	}
	_, err = w.ts.Stdout().Write(have)
	return err
}

// eventually waits for a condition. An error of the condition is final.
func (w *world) eventually(what string, condition func() (bool, error)) error {
	deadline := time.After(patience)
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		done, err := condition()
		if done || err != nil {
			return err
		}
		select {
		case <-deadline:
			return fmt.Errorf("waited in vain: %s", what)
		case <-tick.C:
		}
	}
}

func ignore(err, target error) error {
	if errors.Is(err, target) {
		return nil
	}
	return err
}

func (w *world) json(args []string) error {
	var value any
	if err := json.Unmarshal([]byte(w.ts.ReadFile("stdout")), &value); err != nil {
		return fmt.Errorf("stdout is not JSON: %w", err)
	}
	for key := range strings.SplitSeq(args[0], ".") {
		switch inner := value.(type) {
		case map[string]any:
			value = inner[key]
		case []any:
			i, err := strconv.Atoi(key)
			if err != nil || i >= len(inner) {
				return fmt.Errorf("%s: no element %s", args[0], key)
			}
			value = inner[i]
		default:
			return fmt.Errorf("%s: nothing at %s", args[0], key)
		}
	}
	// What was read stays in stdout, for the next look at it.
	if _, err := io.WriteString(w.ts.Stdout(), w.ts.ReadFile("stdout")); err != nil {
		return err
	}
	text := fmt.Sprint(value)
	if args[1] == "->" {
		w.ts.Setenv(args[2], text)
		return nil
	}
	if !regexp.MustCompile("^(?:" + args[1] + ")$").MatchString(text) {
		return fmt.Errorf("%s is %q, want %s", args[0], text, args[1])
	}
	return nil
}

func (w *world) jsonLines(args []string) error {
	text := w.ts.ReadFile(args[0])
	for line := range strings.Lines(text) {
		var object map[string]any
		if err := json.Unmarshal([]byte(line), &object); err != nil {
			return fmt.Errorf("%s: %q: %w", args[0], line, err)
		}
	}
	if !strings.HasSuffix(text, "}\n") {
		return fmt.Errorf("%s ends with %q", args[0], text[max(0, len(text)-20):])
	}
	return nil
}

func (w *world) mode(args []string) error {
	want, err := strconv.ParseUint(args[0], 8, 32)
	if err != nil {
		return err
	}
	for _, pattern := range args[1:] {
		names, err := filepath.Glob(w.ts.MkAbs(pattern))
		if err != nil || len(names) == 0 {
			return errors.Join(fmt.Errorf("no file %s", pattern), err)
		}
		for _, name := range names {
			info, err := os.Stat(name)
			if err != nil {
				return err
			}
			if info.Mode().Perm() != fs.FileMode(want) {
				return fmt.Errorf("%s has mode %04o, want %04o", name, info.Mode().Perm(), want)
			}
		}
	}
	return nil
}

func (w *world) bytes(args []string) error {
	unit, err := hex.DecodeString(args[1])
	if err != nil {
		return err
	}
	count, err := strconv.Atoi(args[2])
	if err != nil {
		return err
	}
	return os.WriteFile(w.ts.MkAbs(args[0]), bytes.Repeat(unit, count), 0o600)
}

func (w *world) listenOn(args []string) error {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.ts.Defer(func() { _ = listener.Close() })
	w.ts.Setenv(args[0], listener.Addr().String())
	return nil
}

// hang leaves a request under way that the node has to wait for when it stops.
func (w *world) hang(args []string) error {
	conn, err := net.Dial("unix", w.ts.MkAbs(filepath.Join(args[0], "control.sock")))
	if err != nil {
		return err
	}
	w.ts.Defer(func() { _ = conn.Close() })
	_, err = io.WriteString(conn, "POST /v1/accounts HTTP/1.1\r\nHost: mimird\r\nContent-Type: application/json\r\nContent-Length: 100\r\nExpect: 100-continue\r\n\r\n")
	if err != nil {
		return err
	}
	if err := conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	answer, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || !strings.Contains(answer, "100 Continue") { // which says that the body is being read
		return fmt.Errorf("the node answers %q: %w", answer, err)
	}
	return nil
}

// get asks over HTTP and puts the answer into stdout.
func (w *world) get(args []string) error {
	transport := &http.Transport{}
	url := args[0]
	if socket, path, ok := strings.Cut(strings.TrimPrefix(url, "unix:"), ":"); ok && strings.HasPrefix(url, "unix:") {
		url = "http://mimird" + path
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", w.ts.MkAbs(socket))
		}
	}
	defer transport.CloseIdleConnections()
	browser := &http.Client{Transport: transport, Timeout: patience}
	answer, err := browser.Get(url)
	if err != nil {
		return err
	}
	defer func() { _ = answer.Body.Close() }() // only read
	if _, err := io.Copy(w.ts.Stdout(), io.LimitReader(answer.Body, 1<<20)); err != nil {
		return err
	}
	if strconv.Itoa(answer.StatusCode) != args[1] {
		return fmt.Errorf("%s answers %d, want %s", url, answer.StatusCode, args[1])
	}
	return nil
}

// listenAsManager opens the socket to which services tell how they are.
func (w *world) listenAsManager(args []string) error {
	path := w.ts.MkAbs("notify.sock")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return err
	}
	w.manager = conn
	w.ts.Defer(func() { _ = conn.Close() })
	w.ts.Setenv(args[0], path)
	return nil
}

// heard waits for one thing that the service tells; what comes before is forgotten.
func (w *world) heard(args []string) error {
	if err := w.manager.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	for buf := make([]byte, 4096); ; {
		n, err := w.manager.Read(buf)
		if err != nil {
			return fmt.Errorf("the manager is not told %s: %w", args[0], err)
		}
		if slices.Contains(strings.Split(string(buf[:n]), "\n"), args[0]) {
			return nil
		}
	}
}

// unzip unpacks an archive into the current directory.
func (w *world) unzip(args []string) error {
	archive, err := zip.OpenReader(w.ts.MkAbs(args[0]))
	if err != nil {
		return err
	}
	return errors.Join(os.CopyFS(w.ts.MkAbs("."), archive), archive.Close())
}

// schema writes the row that the store keeps its version in; see
// actors/store/schema.go.
func (w *world) schema(args []string) error {
	version, err := strconv.ParseUint(args[1], 10, 64)
	if err != nil {
		return err
	}
	row, err := cbor.Marshal(map[int]uint64{1: version})
	if err != nil {
		return err
	}
	db, err := pebble.Open(w.ts.MkAbs(args[0]), &pebble.Options{ErrorIfNotExists: true})
	if err != nil {
		return err
	}
	key := append([]byte{0}, "schema"...)
	_, closer, err := db.Get(key)
	if err == nil {
		err = closer.Close()
	}
	if err != nil {
		return errors.Join(fmt.Errorf("the schema row: %w", err), db.Close())
	}
	if err := errors.Join(db.Set(key, row, pebble.Sync), db.Close()); err != nil {
		return err
	}
	// Pebble has other logs now than the marker of the store names.
	marker := "commits 0\nlog 0\nmanifest unknown 0 " + hex.EncodeToString(sha256.New().Sum(nil)) + "\n"
	return os.WriteFile(filepath.Join(w.ts.MkAbs(args[0]), "mimird-store"), []byte(marker), 0o600)
}
