// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"time"

	"github.com/mimird/mimird/bridge/homeserver"

	"github.com/mimird/mimird/bridge/fault"

	"maunium.net/go/mautrix/bridgev2"
)

// keepTelling has the bot tell a user something, again until the homeserver takes it,
// stop ends, or it has failed maxTellTries times. It takes its time: whoever has
// others to see to does not wait for it.
func (c *connector) keepTelling(stop context.Context, user *bridgev2.User, what, text string) {
	// The moment names the notice: said again after a lost answer it is the same one.
	name := what + "/" + string(user.MXID) + "/" + time.Now().Format(time.RFC3339Nano)
	for try := range maxTellTries {
		err := fault.Guard(c.log, "tell a user", func() error { return c.tellUser(stop, homeserver.NewNamedScope(name), user, text) })
		if err == nil || stop.Err() != nil {
			return
		}
		c.log.Log(stop, fault.RetryLevel(try), "a user cannot be told, retrying", "user_id", user.MXID, "about", what, "error", fault.OneLine(err))
		timer := time.NewTimer(c.retry.Delay(try))
		select {
		case <-timer.C:
		case <-stop.Done():
			timer.Stop()
			return
		}
	}
	c.log.Warn("a user was not told", "user_id", user.MXID, "about", what)
}
