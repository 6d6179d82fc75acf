// SPDX-License-Identifier: MPL-2.0

package dendrite

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	_ "embed"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/mimird/mimird/test/process"
)

// Version is the release of Dendrite that [Build] compiles. It is the version
// that dendrite.mod requires.
const Version = "v0.15.2"

// CacheEnv names the environment variable that replaces the folder below which
// [Build] keeps what it compiled.
const CacheEnv = "MIMIRD_CACHE"

const (
	mainPackage = "github.com/element-hq/dendrite/cmd/dendrite"
	// killDelay is how long a cancelled go command gets to end by itself.
	killDelay = 5 * time.Second
	// maxToolOutput bounds what is kept of the go command's output for an error.
	maxToolOutput = 8 << 10
)

//go:embed dendrite.mod
var pinnedMod []byte

//go:embed dendrite.sum
var pinnedSum []byte

// ErrNoToolchain means that there is no go command to compile Dendrite with.
var ErrNoToolchain = errors.New("no go command to compile Dendrite with: install Go (https://go.dev/dl) or put it on the PATH")

// Stage says what [Build] is doing.
type Stage string

// The stages of a build, in order. A cached program has none of them.
const (
	StageWait     Stage = "waiting for another build"
	StageDownload Stage = "downloading modules"
	StageCompile  Stage = "compiling"
)

// Progress is one report of [Build].
type Progress struct {
	Stage Stage
	// Done and Total count packages while compiling. What the go command has in
	// its own cache is not counted one by one: Done may jump to Total.
	Done, Total int
}

// BuildOptions say how to build. The zero value is good.
type BuildOptions struct {
	// CacheDir is where the program is kept. Empty means the folder that the
	// environment variable MIMIRD_CACHE names, or else mimird in the user's
	// cache folder.
	CacheDir string
	// GoCommand is the go command. Empty means "go" on the PATH.
	GoCommand string
	// Progress gets the reports, one at a time, all before Build returns.
	Progress func(Progress)
}

// Build returns the path of a Dendrite program, compiling it when the cache has
// none: one to three minutes the first time, nothing afterwards. Any number of
// goroutines and processes may call it at once; one of them compiles.
//
// It needs a go command, a module proxy or a warm module cache, and no C
// compiler. Without a go command it returns [ErrNoToolchain].
func Build(ctx context.Context, opts BuildOptions) (string, error) {
	dir, err := buildDir(opts.CacheDir)
	if err != nil {
		return "", fmt.Errorf("build dendrite: %w", err)
	}
	program := filepath.Join(dir, "dendrite"+exeSuffix())
	if isProgram(program) {
		return program, nil
	}
	goCommand, err := findGo(opts.GoCommand)
	if err != nil {
		return "", err
	}
	report := opts.Progress
	if report == nil {
		report = func(Progress) {}
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("build dendrite: make the cache folder: %w", err)
	}
	unlock, err := process.Lock(ctx, filepath.Join(dir, "lock"), func() { report(Progress{Stage: StageWait}) })
	if err != nil {
		return "", fmt.Errorf("build dendrite: wait for the cache folder: %w", err)
	}
	defer unlock()
	if isProgram(program) { // another process was faster
		return program, nil
	}
	b := builder{dir: dir, goCommand: goCommand, report: report}
	if err := b.build(ctx, program); err != nil {
		return "", fmt.Errorf("build dendrite %s: %w", Version, err)
	}
	return program, nil
}

// buildDir is the folder of exactly these pins on this platform.
func buildDir(cache string) (string, error) {
	if cache == "" {
		cache = os.Getenv(CacheEnv)
	}
	if cache == "" {
		user, err := os.UserCacheDir()
		if err != nil {
			return "", fmt.Errorf("find the user's cache folder (set %s to choose one): %w", CacheEnv, err)
		}
		cache = filepath.Join(user, "mimird")
	}
	cache, err := filepath.Abs(cache)
	if err != nil {
		return "", fmt.Errorf("find the cache folder: %w", err)
	}
	pins := sha256.New()
	for _, part := range [][]byte{pinnedMod, pinnedSum, []byte(runtime.GOOS), []byte(runtime.GOARCH)} {
		fmt.Fprintf(pins, "%d\n%s", len(part), part)
	}
	return filepath.Join(cache, "dendrite-"+Version+"-"+hex.EncodeToString(pins.Sum(nil)[:6])), nil
}

func findGo(command string) (string, error) {
	if command == "" {
		command = "go"
	}
	path, err := exec.LookPath(command)
	if err != nil {
		return "", fmt.Errorf("%w (%w)", ErrNoToolchain, err)
	}
	return path, nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && (runtime.GOOS == "windows" || info.Mode()&0o111 != 0)
}

func exeSuffix() string {
	if runtime.GOOS == "windows" {
		return ".exe"
	}
	return ""
}

type builder struct {
	dir       string
	goCommand string
	report    func(Progress)
}

// build compiles into a file of its own and renames it, so that the program's
// name never shows half a program.
func (b builder) build(ctx context.Context, program string) error {
	for name, content := range map[string][]byte{"go.mod": pinnedMod, "go.sum": pinnedSum} {
		if err := os.WriteFile(filepath.Join(b.dir, name), content, 0o644); err != nil {
			return fmt.Errorf("write the pinned versions: %w", err)
		}
	}

	b.report(Progress{Stage: StageDownload})
	total := 0
	err := b.run(ctx, func(string) { total++ }, nil, "list", "-deps", mainPackage)
	if err != nil {
		return fmt.Errorf("download modules: %w", err)
	}

	b.report(Progress{Stage: StageCompile, Total: total})
	done := 0
	fresh := program + ".new"
	compiled := func(string) {
		if done < total {
			done++
			b.report(Progress{Stage: StageCompile, Done: done, Total: total})
		}
	}
	err = b.run(ctx, nil, compiled, "build", "-v", "-buildvcs=false", "-ldflags=-s -w", "-o", fresh, mainPackage)
	if err != nil {
		return fmt.Errorf("compile: %w", err)
	}
	if err := os.Rename(fresh, program); err != nil {
		return fmt.Errorf("put the program in its place: %w", err)
	}
	b.report(Progress{Stage: StageCompile, Done: total, Total: total})
	return nil
}

// run runs the go command and passes on its lines as they come.
func (b builder) run(ctx context.Context, onOut, onErr func(line string), args ...string) error {
	cmd := exec.CommandContext(ctx, b.goCommand, args...)
	cmd.Dir = b.dir
	cmd.Env = goEnv(os.Environ())
	var tail tailBuffer
	cmd.Stdout = &lineWriter{onLine: onOut}
	cmd.Stderr = io.MultiWriter(&tail, &lineWriter{onLine: onErr})
	if err := process.Run(cmd, killDelay); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("go %s: %w\n%s", args[0], err, tail.String())
	}
	return nil
}

// goEnv takes the caller's environment and fixes what decides the outcome:
// exactly the pinned modules, from a module proxy or its cache, for this
// machine, without a C compiler.
func goEnv(environ []string) []string {
	fixed := map[string]string{
		"CGO_ENABLED": "0",
		"GO111MODULE": "on",
		"GOARCH":      runtime.GOARCH,
		"GOFLAGS":     "-mod=readonly",
		"GOOS":        runtime.GOOS,
		"GOVCS":       "*:off",
		"GOWORK":      "off",
	}
	env := make([]string, 0, len(environ)+len(fixed))
	for _, pair := range environ {
		name, _, _ := strings.Cut(pair, "=")
		if _, ours := fixed[name]; !ours {
			env = append(env, pair)
		}
	}
	for name, value := range fixed {
		env = append(env, name+"="+value)
	}
	return env
}

// lineWriter calls onLine for every complete line. An overlong line comes in
// pieces.
type lineWriter struct {
	onLine func(string)
	part   []byte
}

func (w *lineWriter) Write(p []byte) (int, error) {
	if w.onLine == nil {
		return len(p), nil
	}
	w.part = append(w.part, p...)
	for {
		end := bytes.IndexByte(w.part, '\n')
		switch {
		case end >= 0:
			w.onLine(string(w.part[:end]))
			w.part = w.part[end+1:]
		case len(w.part) > bufio.MaxScanTokenSize:
			w.onLine(string(w.part))
			w.part = nil
		default:
			return len(p), nil
		}
	}
}

// tailBuffer keeps the last maxToolOutput bytes.
type tailBuffer struct{ bytes []byte }

func (t *tailBuffer) Write(p []byte) (int, error) {
	t.bytes = append(t.bytes, p...)
	if over := len(t.bytes) - maxToolOutput; over > 0 {
		t.bytes = append(t.bytes[:0], t.bytes[over:]...)
	}
	return len(p), nil
}

func (t *tailBuffer) String() string { return strings.TrimSpace(string(t.bytes)) }
