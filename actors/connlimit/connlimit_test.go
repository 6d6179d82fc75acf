// SPDX-License-Identifier: MPL-2.0

package connlimit_test

import (
	"testing"

	"github.com/mimird/mimird/actors/connlimit"
	"github.com/mimird/mimird/proto/identity"
)

func TestLimit(t *testing.T) {
	l := connlimit.New(3, 2)
	a, b := identity.NodeKey{1}, identity.NodeKey{2}
	enter := func(node identity.NodeKey, want bool) {
		t.Helper()
		if got := l.Enter(node); got != want {
			t.Errorf("Enter of node %d is %t", node[0], got)
		}
	}
	enter(a, true)
	enter(a, true)
	enter(a, false) // it has its two
	enter(b, true)
	enter(b, false) // there are three
	l.Leave(a)
	enter(b, true)
	enter(a, false)
	l.Leave(b)
	l.Leave(b)
	enter(a, true)
}
