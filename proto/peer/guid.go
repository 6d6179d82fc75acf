// SPDX-License-Identifier: MPL-2.0

package peer

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"

	"github.com/cespare/xxhash/v2"

	"github.com/mimird/mimird/proto/wire"
)

// GUID is the sender's id of a message. It may be negative. 0 is none: it stands
// for "not a reply", an OK for it acknowledges nothing, and it is never sent as
// the id of a message.
type GUID int64

// String returns the decimal form, the one in the message header.
func (g GUID) String() string { return strconv.FormatInt(int64(g), 10) }

// DeriveGUID makes a guid that is always the same for the same parts, for
// example for the id of a Matrix event: the first eight bytes of SHA-256 over
// the parts, each behind its length. It is never 0.
func DeriveGUID(parts ...[]byte) GUID {
	h := sha256.New()
	for _, part := range parts {
		_, _ = h.Write(wire.AppendUint64(nil, uint64(len(part)))) // a hash takes everything
		_, _ = h.Write(part)
	}
	sum := h.Sum(nil)
	return nonZero(GUID(binary.BigEndian.Uint64(sum)))
}

// nonZero replaces zero, the one value that cannot be a guid.
func nonZero(g GUID) GUID {
	if g == 0 {
		return 1
	}
	return g
}

// appGUIDSeed is the seed that the app gives to XXH64.
const appGUIDSeed = 0xbabedeadf00d

// AppGUID returns the guid that the app gives to a message: XXH64 of the payload
// followed by the send time. For attachments payload is the description before
// "key" and "server" are added to it. Receivers do not check it, and ours need
// not follow it; it serves to recognise a message that the app stored itself.
func AppGUID(payload []byte, sendTime int64) GUID {
	h := xxhash.NewWithSeed(appGUIDSeed)
	_, _ = h.Write(payload) // a hash takes everything
	_, _ = h.Write(wire.AppendInt64(nil, sendTime))
	return GUID(h.Sum64())
}
