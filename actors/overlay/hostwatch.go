// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"net"
	"net/netip"
	"slices"
	"time"
)

// sleepGap is by how much the clock on the wall must run ahead to say that the
// machine was asleep, or that nothing ran here for a while.
const sleepGap = 10 * time.Second

// hostWatch notices that the machine was asleep, or that its addresses changed.
type hostWatch struct {
	last  time.Time
	addrs []netip.Addr
}

// check returns why the node should reconnect, "" for no reason. The first
// check gives none.
func (m *hostWatch) check(now time.Time, addrs []netip.Addr) (reason string) {
	switch {
	case m.last.IsZero():
	case asleep(now.Sub(m.last), now.Round(0).Sub(m.last.Round(0))):
		reason = "this machine was asleep"
	case !slices.Equal(addrs, m.addrs):
		reason = "the addresses of this machine have changed"
	}
	m.last, m.addrs = now, addrs
	return reason
}

// asleep compares what has passed by the monotonic clock, which stands still in
// sleep on some systems, and by the one on the wall, which does not; on the others
// the check itself is late.
func asleep(monotonic, wall time.Duration) bool {
	return wall-monotonic >= sleepGap || monotonic >= lookEvery+sleepGap
}

// addresses are those of the machine, as far as they lead anywhere. Without any
// that can be read there are none, as when it is offline.
func addresses() []netip.Addr {
	all, err := net.InterfaceAddrs()
	if err != nil {
		return nil
	}
	var addrs []netip.Addr
	for _, a := range all {
		if p, err := netip.ParsePrefix(a.String()); err == nil && p.Addr().IsGlobalUnicast() {
			addrs = append(addrs, p.Addr())
		}
	}
	slices.SortFunc(addrs, netip.Addr.Compare)
	return addrs
}
