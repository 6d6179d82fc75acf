// SPDX-License-Identifier: MPL-2.0

package fileserver

import "github.com/mimird/mimird/proto/identity"

const (
	// A file takes whole blocks on the disk, and a name, a row and memory beside them:
	// many small files must not cost more than they count.
	hostedBlock    = 4 << 10
	hostedOverhead = 1 << 10
	// maxHosted bounds the files of the file server, unfinished ones included.
	maxHosted = 100_000
)

// hostedCost is what a file of that size counts.
func hostedCost(size int64) int64 {
	return (size+hostedBlock-1)/hostedBlock*hostedBlock + hostedOverhead
}

// hostSpace is how the space of the file server is used. An upload counts whole from
// its beginning on. It is not safe for concurrent use.
type hostSpace struct {
	quota, perIdentity int64

	total int64
	count int
	used  map[identity.PublicKey]int64
}

// fits reports whether there is space for a file. The size can be any number.
func (s *hostSpace) fits(owner identity.PublicKey, size uint64) bool {
	if size > uint64(s.perIdentity) || s.count >= maxHosted {
		return false
	}
	cost := hostedCost(int64(size)) //nolint:gosec // it is not larger than perIdentity
	return s.used[owner]+cost <= s.perIdentity && s.total+cost <= s.quota
}

// take counts a file.
func (s *hostSpace) take(owner identity.PublicKey, size int64) {
	cost := hostedCost(size)
	s.total += cost
	s.used[owner] += cost
	s.count++
}

// release no longer counts a file.
func (s *hostSpace) release(owner identity.PublicKey, size int64) {
	cost := hostedCost(size)
	s.total -= cost
	s.count--
	if s.used[owner] -= cost; s.used[owner] <= 0 {
		delete(s.used, owner)
	}
}
