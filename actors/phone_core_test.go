// SPDX-License-Identifier: MPL-2.0

package actors_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/phone"
)

// What only showed when nodes talked to the apps' own core.

// Who has never seen a contact's profile asks for what is newer than 0, not for
// what is newer than the year 1.
func TestProfileIsAskedForSinceZero(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{})
		k.nodeSays(t, "hello")
		k.settles(t, time.Minute)
		asked := k.p.Page(k.key).Of(phone.TypeInfoRequest)
		if len(asked) != 1 || asked[0].Int("since") != 0 {
			t.Errorf("the node asked %v", asked)
		}
	})
}
