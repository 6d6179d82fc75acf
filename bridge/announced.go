// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"fmt"
	"time"

	"github.com/mimird/mimird/bridge/homeserver"
	"github.com/mimird/mimird/bridge/msgconv"

	"github.com/mimird/mimird/actors/store"
)

// alarmAge is how old an alarm may be to be told: somebody who logs in reads the
// log from its beginning.
const alarmAge = 7 * 24 * time.Hour

// accountEvent handles what concerns the whole account.
func (d *delivery) accountEvent(ctx context.Context) error {
	switch d.ev.Kind {
	case store.ForeignNodeAnnounced:
		return d.tellOwner(ctx, fmt.Sprintf("Since %s trackers lead people who look for your identity %s to the device %s, which is none of yours, and the "+
			"record has your signature: somebody may have tricked a device of yours into it. Messages for you may wait, and nobody "+
			"else can read them. If the device is yours, its operator adds it to security.own_devices; if not, mimird status says "+
			"when it is over.", d.eventTime(), d.at.Login.RemoteName, d.ev.NodeKey))
	case store.HandshakeRelayed:
		return d.tellOwner(ctx, fmt.Sprintf("At %s the device %s, which calls itself %s, wanted your identity %s to sign what was meant for another connection: "+
			"somebody tries to be in the middle of a conversation of yours. Nothing was signed. mimird status says whether it goes on.",
			d.eventTime(), d.ev.NodeKey, msgconv.CleanName(d.ev.Reason), d.at.Login.RemoteName))
	default:
		return d.accountChanged(ctx)
	}
}

func (d *delivery) eventTime() string { return d.ev.Time.Time().UTC().Format("2006-01-02 15:04 UTC") }

// tellOwner tells the user of an alarm, where they talk with the bot. The node
// raises one once for each time that it begins.
func (d *delivery) tellOwner(ctx context.Context, text string) error {
	if time.Since(d.ev.Time.Time()) > alarmAge {
		return nil
	}
	if err := d.tellUser(ctx, homeserver.NewScope(d.ev, 0), d.at.Login.User, text); err != nil {
		return fmt.Errorf("tell of an alarm: %w", err)
	}
	return nil
}
