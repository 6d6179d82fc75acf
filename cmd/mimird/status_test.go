// SPDX-License-Identifier: MPL-2.0

package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/bridge"
)

func TestStatusSaysWhenRoomsAreNotEncrypted(t *testing.T) {
	for sentence, state := range map[string]bridge.EncryptionState{
		"Rooms are not encrypted, use another homeserver.": bridge.EncryptionUnavailable,
		"": bridge.EncryptionOn,
	} {
		part, err := json.Marshal(bridge.Status{State: bridge.StateRunning, Encryption: bridge.Encryption{State: state, Error: sentence}})
		if err != nil {
			t.Fatal(err)
		}
		var out strings.Builder
		printStatus(&out, control.Status{Parts: map[string]json.RawMessage{matrixName: part}})
		if says := strings.Contains(out.String(), "warning   "); says != (sentence != "") || !strings.Contains(out.String(), sentence) {
			t.Errorf("%s says:\n%s", state, out.String())
		}
	}
}
