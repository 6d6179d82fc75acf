// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"encoding/binary"
	"math/bits"
)

// guidSeed is the apps' own.
const guidSeed = 0xbabedeadf00d

// guidOf computes the id that an app gives to a message. Nobody checks it.
func guidOf(payload []byte, sendTime int64) GUID {
	return GUID(xxh64(binary.BigEndian.AppendUint64(append([]byte(nil), payload...), uint64(sendTime)), guidSeed))
}

// The primes of XXH64. They are variables because the algorithm's sums overflow.
var prime1, prime2, prime3, prime4, prime5 uint64 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5

// xxh64 is the hash of that name, here because no library with seeds is to be
// shared with what the phone tests.
func xxh64(b []byte, seed uint64) uint64 {
	round := func(acc, in uint64) uint64 { return bits.RotateLeft64(acc+in*prime2, 31) * prime1 }
	h := seed + prime5
	length := uint64(len(b))
	if len(b) >= 32 {
		v := [4]uint64{seed + prime1 + prime2, seed + prime2, seed, seed - prime1}
		for ; len(b) >= 32; b = b[32:] {
			for i := range v {
				v[i] = round(v[i], binary.LittleEndian.Uint64(b[8*i:]))
			}
		}
		h = bits.RotateLeft64(v[0], 1) + bits.RotateLeft64(v[1], 7) + bits.RotateLeft64(v[2], 12) + bits.RotateLeft64(v[3], 18)
		for i := range v {
			h = (h^round(0, v[i]))*prime1 + prime4
		}
	}
	h += length
	for ; len(b) >= 8; b = b[8:] {
		h = bits.RotateLeft64(h^round(0, binary.LittleEndian.Uint64(b)), 27)*prime1 + prime4
	}
	if len(b) >= 4 {
		h = bits.RotateLeft64(h^uint64(binary.LittleEndian.Uint32(b))*prime1, 23)*prime2 + prime3
		b = b[4:]
	}
	for _, c := range b {
		h = bits.RotateLeft64(h^uint64(c)*prime5, 11) * prime1
	}
	h ^= h >> 33
	h *= prime2
	h ^= h >> 29
	h *= prime3
	return h ^ h>>32
}
