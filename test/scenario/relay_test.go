// SPDX-License-Identifier: MPL-2.0

package scenario_test

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/test/process"
)

// relayModule requires the yggdrasil program, with the versions of its own modules.
const relayModule = "testdata/yggdrasil"

// startForeignRelay builds the program of the Yggdrasil project and starts it as a
// process of its own. It returns where it takes links.
func startForeignRelay(t *testing.T) (uri string) {
	t.Helper()
	ours, theirs := moduleVersion(t, "../../go.mod"), moduleVersion(t, relayModule+"/go.mod")
	if ours != theirs {
		t.Errorf("%s is of another version than the node's: %s", theirs, ours)
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "yggdrasil")
	build := exec.CommandContext(t.Context(), "go", "build", "-mod=readonly", "-o", program, "github.com/yggdrasil-network/yggdrasil-go/cmd/yggdrasil")
	build.Dir, build.Env = relayModule, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=", "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build yggdrasil: %v\n%s", err, out)
	}
	socket := filepath.Join(dir, "s") // its whole path must be short
	document, err := json.Marshal(map[string]any{
		"Listen": []string{"unix://" + socket}, "IfName": "none", "AdminListen": "none", "MulticastInterfaces": []any{},
	})
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "relay.conf"), document, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	relay, err := process.Start(process.Spec{
		Program: program, Args: []string{"-useconffile", "relay.conf"}, Dir: dir, Log: filepath.Join(dir, "log"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := relay.Stop(); err != nil {
			t.Error(err)
		}
	})
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		if _, err := os.Stat(socket); err == nil {
			return "unix://" + socket
		} else if !errors.Is(err, os.ErrNotExist) || time.Now().After(end) || relay.Err() != nil {
			t.Fatalf("the relay takes no links (%v, %v):\n%s", err, relay.Err(), relay.LogTail())
		}
	}
}

// moduleVersion returns the line of a go.mod that requires Yggdrasil.
func moduleVersion(t *testing.T, path string) string {
	t.Helper()
	document, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(document)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "require ")
		if strings.HasPrefix(line, "github.com/yggdrasil-network/yggdrasil-go ") {
			return line
		}
	}
	t.Fatalf("%s requires no Yggdrasil", path)
	return ""
}
