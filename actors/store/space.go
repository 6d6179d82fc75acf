// SPDX-License-Identifier: MPL-2.0

package store

import (
	"log/slog"
	"math"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	defaultReserve = 256 << 20
	// reserveShare is the part of a small disk that is kept free instead.
	reserveShare = 20
	// spaceInterval is how old the measured free space may be. In that time a fast
	// disk takes a part of the reserve only.
	spaceInterval = time.Second
)

// space watches the free space of the disk, so that the store stops accepting
// messages before Pebble meets a full disk, which it does not survive.
type space struct {
	fs      vfs.FS
	dir     string
	reserve uint64
	now     func() time.Time // not Options.Now: a clock that stands still would end the measuring
	log     *slog.Logger

	mu       sync.Mutex
	measured time.Time
	isLow    bool
	above    uint64 // free space above the reserve, when it was measured
}

// low reports whether the free space is below the reserve. A disk that cannot be
// measured counts as having space.
func (s *space) low() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	if age := now.Sub(s.measured); age >= 0 && age < spaceInterval {
		return s.isLow
	}
	s.measured = now
	usage, err := s.fs.GetDiskUsage(s.dir)
	if err != nil {
		s.isLow, s.above = false, math.MaxUint64
		return false
	}
	reserve := s.reserve
	if reserve == 0 {
		reserve = min(defaultReserve, usage.TotalBytes/reserveShare)
	}
	s.above = usage.AvailBytes - min(usage.AvailBytes, reserve)
	before := s.isLow
	s.isLow = usage.AvailBytes < reserve
	switch {
	case s.isLow && !before:
		s.log.Error("disk nearly full, refusing new messages", "free_bytes", usage.AvailBytes, "limit", reserve)
	case before && !s.isLow:
		s.log.Info("disk has space again", "free_bytes", usage.AvailBytes)
	}
	return s.isLow
}

// left returns the free space above the reserve.
func (s *space) left() uint64 {
	s.low()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.above
}

// DiskLow reports whether the free disk space is below the reserve, so that new
// messages are refused with ErrDiskFull.
func (s *Store) DiskLow() bool { return s.space.low() }
