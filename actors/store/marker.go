// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The marker is a file beside the database that says that here is a store, how
// many synced commits it has at least, the number of the log that was in use, and
// what the manifest began with. Pebble alone would make an empty database where
// its own marker is missing, does not miss a log, and takes damage at the end of a
// manifest or log for a torn write: it would open, with what came after missing.
// Each synced commit therefore carries a number, the marker is written again at
// each start and end and whenever a log was begun or tables were written, and a
// database that contradicts its marker is not opened.
//
// What is left uncovered: a crash, together with damage to the log that was in
// use.
const (
	markerName   = "mimird-store"
	markerTemp   = markerName + ".new"
	markerFormat = "commits %d\nlog %d\nmanifest %s %d %x\n"
	maxMarker    = 256
)

// promise is what the marker says.
type promise struct {
	commits  uint64
	log      uint64
	manifest manifestMark
}

// manifestMark is a manifest up to where it was synced.
type manifestMark struct {
	name string
	size int64
	sum  []byte
}

// noManifest stands where no manifest is known.
func noManifest() manifestMark {
	nothing := sha256.Sum256(nil)
	return manifestMark{name: "unknown", sum: nothing[:]}
}

// manifestFile is a manifest that is being written. It keeps the mark.
type manifestFile struct {
	failStopFile
	size int64
	sum  hash.Hash
	torn bool // a write failed: size and sum mean nothing
}

func isManifest(path string) bool { return strings.Contains(filepath.Base(path), "MANIFEST-") }

func (f *manifestFile) Write(p []byte) (int, error) {
	_, _ = f.sum.Write(p) // never fails; first, because Pebble's file systems may change p
	n, err := f.failStopFile.Write(p)
	f.size += int64(n)
	f.torn = f.torn || err != nil
	return n, err
}

func (f *manifestFile) Sync() error {
	err := f.failStopFile.Sync()
	if err == nil && !f.torn {
		f.fs.store.manifest.Store(&manifestMark{filepath.Base(f.path), f.size, f.sum.Sum(nil)})
	}
	return err
}

// number gives the batch the number of the next synced commit.
func (s *Store) number(b *pebble.Batch) error {
	raw, err := encode(s.count + 1)
	if err != nil {
		return err
	}
	if err := b.Set(countKey(), raw, nil); err != nil {
		return err
	}
	s.count++ // a batch that is not committed fails the store
	return nil
}

// readMarker returns what the marker says, and whether there is one.
func (s *Store) readMarker() (p promise, exists bool, err error) {
	system := s.fileSystem()
	f, err := system.Open(system.PathJoin(s.opts.Dir, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return promise{manifest: noManifest()}, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("open %s: %w", markerName, err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxMarker)) //nolint:forbidigo // it is limited
	if err = errors.Join(err, f.Close()); err != nil {
		return p, false, fmt.Errorf("read %s: %w", markerName, err)
	}
	m := &p.manifest
	_, err = fmt.Sscanf(string(raw), markerFormat, &p.commits, &p.log, &m.name, &m.size, &m.sum)
	if err != nil || string(raw) != fmt.Sprintf(markerFormat, p.commits, p.log, m.name, m.size, m.sum) {
		return p, false, fmt.Errorf("read %s: %w", markerName, ErrCorrupt)
	}
	return p, true, nil
}

// checkManifest compares the manifest that the marker knows with what is there of
// it. When it is gone there is a newer one, which Pebble looks for.
func (s *Store) checkManifest(p promise) error {
	system := s.fileSystem()
	f, err := system.Open(system.PathJoin(s.opts.Dir, p.manifest.name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", p.manifest.name, err)
	}
	sum := sha256.New()
	_, err = io.CopyN(sum, f, p.manifest.size)
	if errors.Is(err, io.EOF) || err == nil && !bytes.Equal(sum.Sum(nil), p.manifest.sum) {
		err = ErrCorrupt
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("compare %s with %s: %w", p.manifest.name, markerName, err)
	}
	return nil
}

// checkLogs looks for a log that is as new as the one the marker names, 0 for
// none. A new log is begun before an old one goes, so there is always one.
func (s *Store) checkLogs(p promise) error {
	names, err := s.fileSystem().List(s.opts.Dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", s.opts.Dir, err)
	}
	if p.log == 0 {
		return nil
	}
	for _, name := range names {
		digits, isLog := strings.CutSuffix(name, ".log")
		if number, err := strconv.ParseUint(digits, 10, 64); isLog && err == nil && number >= p.log {
			return nil
		}
	}
	return fmt.Errorf("%w: %06d.log is missing", ErrCorrupt, p.log)
}

// checkCommits reads the number of the last commit and compares it with what the
// marker says.
func (s *Store) checkCommits(p promise) error {
	err := loadRow(s.db, countKey(), &s.count)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return fmt.Errorf("read number of commits: %w", err)
	}
	if s.count < p.commits {
		return fmt.Errorf("%w: %s says %d commits, the database has %d: a log or manifest is older than it was",
			ErrCorrupt, markerName, p.commits, s.count)
	}
	return nil
}

// markerDue asks the goroutine that commits to write the marker.
func (s *Store) markerDue() {
	select {
	case s.due <- struct{}{}:
	default: // it is asked already
	}
}

// writeMarker promises the commits so far. It must not run beside a commit.
func (s *Store) writeMarker() error {
	return promise{s.count, s.logNumber.Load(), *s.manifest.Load()}.write(s.fileSystem(), s.opts.Dir)
}

// write makes the promise durable in the directory of a database.
func (p promise) write(system vfs.FS, dir string) error {
	temp := system.PathJoin(dir, markerTemp)
	f, err := system.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return fmt.Errorf("write %s: %w", markerName, err)
	}
	m := p.manifest
	_, err = fmt.Fprintf(f, markerFormat, p.commits, p.log, m.name, m.size, m.sum)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = system.Rename(temp, system.PathJoin(dir, markerName))
	}
	if err == nil {
		err = syncDir(system, dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", markerName, err)
	}
	return nil
}
