// SPDX-License-Identifier: MPL-2.0

package virtual_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/test/virtual"
)

func TestSleep_InBubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begin := time.Now()
		virtual.Sleep(time.Hour)
		if passed := time.Since(begin); passed != time.Hour {
			t.Errorf("%v passed", passed)
		}
	})
}

func TestSleep_OutsideOfBubble_Panics(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("slept in real time")
		}
	}()
	virtual.Sleep(time.Nanosecond)
}
