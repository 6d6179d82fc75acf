// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"encoding/binary"
)

// appendTo appends what is in a RECORD.
func (r record) appendTo(b []byte) []byte {
	b = appendTLV(b, tagNodePub, r.Node[:])
	b = appendTLV(b, tagSignature, r.Signature)
	b = appendTLV(b, tagPriority, []byte{r.Priority})
	b = appendTLV(b, tagClientID, uint32Bytes(r.ClientID))
	return appendTLV(b, tagExpiresMS, binary.BigEndian.AppendUint64(nil, r.ExpiresMS))
}
