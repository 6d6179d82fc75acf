// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"fmt"
	"math"
)

// LengthLie is a frame that declares a length and breaks off there.
type LengthLie struct {
	Name string
	// Type is where it belongs: frames of the handshake are looked at in their turn
	// only. Data is a frame of a data stream.
	Type   Type
	Data   bool
	Length int64
	// Absurd lengths are negative, larger than the protocol's largest, or not the only
	// one that is allowed. The others just never get their bytes.
	Absurd bool
	Bytes  []byte
}

// LengthLies are frames for every length of every frame, and for the size of
// unknown ones: -1, 0, the largest that a phone takes, one more, 2^31-1, and where
// it fits 2^63-1. Fields before the length are true for the two keys.
func LengthLies(own, receiver Key) []LengthLie {
	var all []LengthLie
	for _, t := range append(Types(), typeData) {
		for i, fd := range layouts[t] {
			if !fd.hasBytes() {
				continue
			}
			for _, n := range lengths(fd) {
				if n == 0 && fd.allows(n) && i == len(layouts[t])-1 {
					continue // that is the whole frame
				}
				f := Frame{Type: t, Fields: Fields{}, Lengths: map[string]int64{fd.name: n}, End: fd.name}
				for _, before := range layouts[t][:i] {
					f.Fields[before.name] = map[string]any{"own": own, "receiver": receiver}[before.name]
				}
				if fd.onlyAbove > 0 {
					size := fd.onlyAbove + 4 + 32
					f.Size = &size
				}
				if fd.kind == kindPayload {
					f.Fields["header"] = fmt.Sprintf(`{"guid":77,"payloadSize":%d,"sendTime":1,"type":0}`, n)
				}
				all = append(all, LengthLie{
					Name: fmt.Sprintf("%v %s %d", t, fd.name, n), Type: t, Data: t == typeData, Length: n,
					Absurd: !fd.allows(n), Bytes: f.AppendTo(nil),
				})
			}
		}
	}
	const unknown Type = 7777
	for _, n := range []int64{math.MaxInt32, math.MaxInt64} {
		all = append(all, LengthLie{
			Name: fmt.Sprintf("unknown size %d", n), Type: unknown, Length: n,
			Bytes: Frame{Type: unknown, Size: &n}.AppendTo(nil),
		})
	}
	return all
}

func lengths(fd field) []int64 {
	all := []int64{-1, 0, fd.limit, fd.limit + 1, math.MaxInt32}
	if fd.kind == kindLong || fd.kind == kindPayload {
		all = append(all, math.MaxInt64)
	}
	return all
}
