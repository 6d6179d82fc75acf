// SPDX-License-Identifier: MPL-2.0

package bridge_test

import (
	"encoding/base64"
	"encoding/hex"
	"os"
	"path/filepath"
	"testing"

	"github.com/mimird/mimird/bridge/bridgetest"
)

// Bar S21
func TestLog_NoSecretsOrTexts(t *testing.T) {
	f := newFixture(t) // logs at debug level
	bob, room := f.conversation("Bob")
	const incoming, outgoing, command = "canary-from-mimir", "canary-from-matrix", "canary-in-a-command"
	f.homeserver.SetFault(bridgetest.Fault{Kind: bridgetest.FaultError, Only: bridgetest.SendsOnly})
	f.node.receive(f.account, bob, incoming)
	f.await("it fails", func() bool { return len(f.failing()) == 1 })
	f.homeserver.SetFault(bridgetest.Fault{})
	f.awaitShown(room, "I am Bob", incoming)
	f.node.setErrors(errTest, nil)
	f.write(room, outgoing)
	f.await("it was tried", func() bool { return f.log.contains("handling a Matrix event failed, retrying") })
	f.node.setErrors(nil, nil)
	f.awaitOutgoing(f.account, bob, outgoing)
	f.say(f.alice, f.management, command, "Unknown command")
	f.stop()

	for _, canary := range []string{
		incoming, outgoing, command, f.config.AppService.ASToken, f.config.AppService.HSToken,
		f.config.Provisioning.SharedSecret, f.config.Encryption.PickleKey, f.account.String(), bob.String(),
	} {
		for _, form := range []string{canary, hex.EncodeToString([]byte(canary)), base64.StdEncoding.EncodeToString([]byte(canary))} {
			if f.log.contains(form) {
				t.Errorf("the log has %q", form)
			}
		}
	}
	if !f.log.contains(`text="Request completed"`) {
		t.Error("bridgev2's log is missing")
	}
}

// Bar S20
func TestDatabase_Mode0600(t *testing.T) {
	f := newFixture(t)
	files, err := filepath.Glob(filepath.Join(f.dir, "matrix.db*"))
	if err != nil || len(files) == 0 {
		t.Fatalf("%v, %v", files, err)
	}
	for _, file := range files {
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", filepath.Base(file), info.Mode(), err)
		}
	}
}
