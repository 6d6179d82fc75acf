// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"testing"
	"time"
)

func TestHealth(t *testing.T) {
	var h Monitor
	ups := 0
	h.OnUp(func() { ups++ })
	h.Up()
	h.Up()
	since := h.Health().Since
	h.Down(ErrRoom)
	h.Down(errRefused)
	if state := h.Health(); state.OK || state.Error != errRefused.Error() || state.Since.Before(since) {
		t.Errorf("state is %+v", state)
	}
	h.Up()
	if state := h.Health(); !state.OK || state.Error != "" || ups != 2 || h.QuietFor() > time.Minute {
		t.Errorf("state is %+v after %d ups", state, ups)
	}
}
