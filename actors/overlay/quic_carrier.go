// SPDX-License-Identifier: MPL-2.0

package overlay

type quicCarrier struct {
	Carrier
	packets *packetQueue
}

func newQUICCarrier(args ...any) (*quicCarrier, error) { return nil, ErrNoCarrier }

func (c *quicCarrier) shutdown(bool) {}
