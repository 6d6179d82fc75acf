// SPDX-License-Identifier: MPL-2.0

package phone_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/phone"
)

func TestPhonesTalk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(memnet.Options{})
		t.Cleanup(net.Close)
		a := phone.InMemory(t, net, phone.Options{Name: "a", Log: t.Logf})
		b := phone.InMemory(t, net, phone.Options{Name: "b", Log: t.Logf})
		a.Found(b.Key(), b.Node())
		b.Found(a.Key(), a.Node())
		a.Write(b.Key(), "hello")
		b.Eventually(t, time.Minute, "b hears a", func() bool { return len(b.Page(a.Key()).Received) == 1 })
	})
}
