// SPDX-License-Identifier: MPL-2.0

package identity_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/mimird/mimird/proto/identity"
)

func TestPublicKeysReadTheirHexForm(t *testing.T) {
	k := key(1).Public()
	n := identity.NodeKey(k)
	for _, text := range []string{k.String(), strings.ToUpper(k.String())} {
		if got, err := identity.ParsePublicKey(text); got != k || err != nil {
			t.Errorf("identity key %s, error %v", got, err)
		}
		if got, err := identity.ParseNodeKey(text); got != n || err != nil {
			t.Errorf("node key %s, error %v", got, err)
		}
	}
	if k.Short() != k.String()[:8] || n.Short() != k.String()[:8] || n.String() != k.String() {
		t.Errorf("short forms %s and %s", k.Short(), n.Short())
	}
	if k.IsZero() || n.IsZero() || !(identity.PublicKey{}).IsZero() || !(identity.NodeKey{}).IsZero() {
		t.Error("IsZero is wrong")
	}
}

func TestPublicKeysRefuseOtherText(t *testing.T) {
	good := key(1).Public().String()
	for _, text := range []string{"", "00", good[:63], good + "0", "g" + good[1:], good[:62] + "я"} {
		if _, err := identity.ParsePublicKey(text); err == nil {
			t.Errorf("identity key %q accepted", text)
		}
		if _, err := identity.ParseNodeKey(text); err == nil {
			t.Errorf("node key %q accepted", text)
		}
	}
}

func TestPublicKeysSurviveJSON(t *testing.T) {
	type both struct {
		Identity identity.PublicKey
		Node     identity.NodeKey
	}
	want := both{key(1).Public(), identity.NodeKey(key(2).Public())}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got both
	if err := json.Unmarshal(text, &got); err != nil || got != want {
		t.Errorf("%s reads as %v, error %v", text, got, err)
	}
	for _, bad := range []string{`{"Identity":"00"}`, `{"Node":"00"}`} {
		if json.Unmarshal([]byte(bad), &got) == nil {
			t.Errorf("%s accepted", bad)
		}
	}
}
