// SPDX-License-Identifier: MPL-2.0

package stream

// Class is what a raw packet between two Yggdrasil node keys belongs to.
type Class uint8

// The classes of a raw packet.
const (
	// ClassUnknown is a packet nobody should have sent; it is dropped.
	ClassUnknown Class = iota
	// ClassStream is a ygg_stream packet.
	ClassStream
	// ClassTraffic is Yggdrasil's own session traffic: IPv6 and QUIC of Mimir's
	// gen1 and gen2, after one type byte.
	ClassTraffic
	// ClassProtocol is Yggdrasil's node information and debugging.
	ClassProtocol
)

// Ports whose packets can be told from Yggdrasil's own traffic by their first
// byte, the high byte of the source port.
const (
	// MaxServicePort is the highest port a listener may have.
	MaxServicePort = 0x00FF
	// MinEphemeralPort is the first of the ports that connections leave from;
	// the last one is 65535.
	MinEphemeralPort = 0xC000
)

// Classify tells by its first byte what a raw packet belongs to.
func Classify(first byte) Class {
	switch {
	case first == 0x00, first >= MinEphemeralPort>>8:
		return ClassStream
	case first == 0x01:
		return ClassTraffic
	case first == 0x02:
		return ClassProtocol
	default:
		return ClassUnknown
	}
}
