// SPDX-License-Identifier: MPL-2.0

package tracker

import (
	"encoding/binary"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

const (
	// Version is the first byte of every request.
	Version = 2
	// Port is the ygg_stream port of datagrams and of streams between trackers.
	// Answers always go to it, so a client listens there too.
	Port uint16 = 69
)

// Command is what a request asks for.
type Command byte

// The commands. The last two are used on streams between trackers only.
const (
	CommandAnnounce Command = 0x00
	CommandLookup   Command = 0x01
	CommandPing     Command = 0x02
	CommandSyncData Command = 0x0a
	CommandSyncPing Command = 0x14
)

// String returns the protocol's name of a command, "UNKNOWN" for all others: a
// fixed set, fit for a metric label.
func (c Command) String() string {
	switch c {
	case CommandAnnounce:
		return "ANNOUNCE"
	case CommandLookup:
		return "GET_ADDRS"
	case CommandPing:
		return "PING"
	case CommandSyncData:
		return "SYNC_DATA"
	case CommandSyncPing:
		return "SYNC_PING"
	}
	return "UNKNOWN"
}

// The tags of fields.
const (
	tagIdentity  = 0x01
	tagNode      = 0x02
	tagSignature = 0x03
	tagPriority  = 0x05
	tagClientID  = 0x06
	tagTTL       = 0x07
	tagExpires   = 0x08
	tagHop       = 0x09
	tagPrevTTL   = 0x0a
	tagCount     = 0x0b
	tagRecord    = 0x0c
)

// Nonce ties an answer to its request. An answer counts only from the node that
// was asked, with the nonce and the command of a request that is still open.
type Nonce uint32

// DrawNonce draws a nonce from random, which is crypto/rand.Reader outside of
// tests.
func DrawNonce(random io.Reader) (Nonce, error) {
	var b [4]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return 0, fmt.Errorf("draw a nonce: %w", err)
	}
	return Nonce(binary.BigEndian.Uint32(b[:])), nil
}

// The bounds of a TTL. Ours: what trackers grant lies between 4 and 17 minutes.
const (
	MinTTL = time.Minute
	MaxTTL = time.Hour
)

// ClampTTL makes a duration of a number of seconds that a tracker sent, between
// [MinTTL] and [MaxTTL].
func ClampTTL(seconds uint64) time.Duration { return clamp(seconds, time.Second) }

func clamp(n uint64, unit time.Duration) time.Duration {
	// Compared before it is multiplied: n can be anything.
	if n > uint64(MaxTTL/unit) {
		return MaxTTL
	}
	return max(time.Duration(n)*unit, MinTTL)
}

// The TTLs that a tracker grants: twice the previous one of the same client id
// and node key, from 4 to 16 minutes. A record is kept one minute longer.
const (
	firstTTL = 2 * time.Minute
	maxTTL   = 16 * time.Minute
	// Grace is how much longer than its TTL a tracker keeps a record.
	Grace = time.Minute
)

// NextTTL returns the TTL that a tracker grants to an announcement. previous is
// the TTL it granted last to the same identity, client id and node key; 0 when
// there is none.
func NextTTL(previous time.Duration) time.Duration {
	if previous <= 0 {
		previous = firstTTL
	}
	return min(2*min(previous, maxTTL), maxTTL)
}

// Address is where a tracker listens.
type Address struct {
	Node identity.NodeKey
	// Port is [Port] for every tracker that exists: they answer to no other.
	Port uint16
}

// ParseAddress reads "<64 hex digits>:<port>".
func ParseAddress(s string) (Address, error) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return Address{}, fmt.Errorf("parse tracker address: want <64 hex digits>:<port>")
	}
	node, err := identity.ParseNodeKey(s[:colon])
	if err != nil {
		return Address{}, fmt.Errorf("parse tracker address: %w", err)
	}
	port, err := strconv.ParseUint(s[colon+1:], 10, 16)
	if err != nil || port == 0 {
		return Address{}, fmt.Errorf("parse tracker address: the port is a number from 1 to 65535")
	}
	return Address{Node: node, Port: uint16(port)}, nil
}

// String returns "<64 hex digits>:<port>".
func (a Address) String() string {
	return a.Node.String() + ":" + strconv.Itoa(int(a.Port))
}
