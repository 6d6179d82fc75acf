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
	"strings"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The marker is a file beside the database that says that here is a store, how
// many synced commits it has at least, what the manifest began with, and which
// write-ahead logs there are, each with how much of it was synced. Pebble alone
// would create an empty database where its own marker is missing, does not miss a
// log, takes a log that ends behind a record for a whole one, and takes damage at
// the end of a manifest or log for a torn write: it would open, with what came
// after missing. Each synced commit therefore carries a number, and a database that
// contradicts its marker is not opened.
//
// The marker is written at each start and end, when a log was created, before a
// log is removed or reused, when tables were written, and markerInterval after a
// commit. It never states what is not synced yet.
//
// What is left uncovered: a crash less than markerInterval after a commit, together
// with damage to the record of the very last commit. Damage to an earlier one is
// found by what follows it, see tail.go.
const (
	markerName = "mimird-store"
	markerTemp = markerName + ".new"
	maxMarker  = 16 << 10

	// markerVersion is the version of the format, in its first line. Version 1 had no
	// such line and named the newest log only.
	markerVersion  = 2
	markerHead     = "version %d\n"
	markerCommits  = "commits %d\n"
	markerManifest = "manifest %s %d %x\n"
	markerSecret   = "secret %x\n" // may be missing
	markerLog      = "log %d %d\n"
	markerSum      = "sum %x\n" // SHA-256 of all lines before
	markerV1       = "commits %d\nlog %d\nmanifest %s %d %x\n"

	// markerInterval is how old the marker may be after a commit.
	markerInterval = 3 * time.Second
)

// marker is the content of the marker.
type marker struct {
	commits  uint64
	manifest manifestMark
	secret   []byte // in each synced commit of the logs, see tail.go; nil for none
	logs     []liveLog
	// v1Log is what a marker of version 1 states: there is a log of that number or a
	// newer one. 0 for none.
	v1Log uint64
}

// text returns the content of the marker.
func (p marker) text() string {
	m := p.manifest
	if p.v1Log != 0 {
		return fmt.Sprintf(markerV1, p.commits, p.v1Log, m.name, m.size, m.sum)
	}
	var text strings.Builder
	fmt.Fprintf(&text, markerHead+markerCommits+markerManifest, markerVersion, p.commits, m.name, m.size, m.sum)
	if p.secret != nil {
		fmt.Fprintf(&text, markerSecret, p.secret)
	}
	for _, log := range p.logs {
		fmt.Fprintf(&text, markerLog, log.number, log.size)
	}
	fmt.Fprintf(&text, markerSum, sha256.Sum256([]byte(text.String())))
	return text.String()
}

// parseMarker reads the content of a marker. Errors: [ErrCorrupt],
// [ErrNewerSchema].
func parseMarker(text string) (marker, error) {
	var p marker
	m := &p.manifest
	version := 1
	if strings.HasPrefix(text, "version ") {
		if _, err := fmt.Sscanf(text, markerHead, &version); err != nil || version < markerVersion {
			return p, ErrCorrupt
		}
	}
	switch {
	case version > markerVersion:
		return p, fmt.Errorf("%w: its marker has version %d, this program knows version %d", ErrNewerSchema, version, markerVersion)
	case version == 1:
		_, err := fmt.Sscanf(text, markerV1, &p.commits, &p.v1Log, &m.name, &m.size, &m.sum)
		if err == nil && p.v1Log == 0 && text == fmt.Sprintf(markerV1, p.commits, p.v1Log, m.name, m.size, m.sum) {
			return p, nil // of a backup
		}
		if err != nil || text != p.text() {
			return p, ErrCorrupt
		}
		return p, nil
	}
	rest := strings.NewReader(text)
	if _, err := fmt.Fscanf(rest, markerHead+markerCommits+markerManifest, &version, &p.commits, &m.name, &m.size, &m.sum); err != nil {
		return p, ErrCorrupt
	}
	if strings.Contains(text, "\nsecret ") {
		if _, err := fmt.Fscanf(rest, markerSecret, &p.secret); err != nil {
			return p, ErrCorrupt
		}
	}
	for {
		var log liveLog
		if _, err := fmt.Fscanf(rest, markerLog, &log.number, &log.size); err != nil {
			break // the sum
		}
		p.logs = append(p.logs, log)
	}
	if text != p.text() {
		return p, ErrCorrupt
	}
	return p, nil
}

// manifestMark is a manifest up to where it was synced.
type manifestMark struct {
	name string
	size int64
	sum  []byte
}

// noManifest stands for an unknown manifest.
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

// number gives the batch the secret, which goes to the log only, and the number of
// the next synced commit.
func (s *Store) number(b *pebble.Batch) error {
	raw, err := encode(s.count + 1)
	if err != nil {
		return err
	}
	if err := errors.Join(b.LogData(s.secret, nil), b.Set(countKey(), raw, nil)); err != nil {
		return err
	}
	s.count++ // a batch that is not committed fails the store
	return nil
}

// readMarker returns what the marker says, and whether there is one.
func (s *Store) readMarker() (p marker, exists bool, err error) {
	system := s.fileSystem()
	f, err := system.Open(system.PathJoin(s.opts.Dir, markerName))
	if errors.Is(err, fs.ErrNotExist) {
		return marker{manifest: noManifest()}, false, nil
	}
	if err != nil {
		return p, false, fmt.Errorf("open %s: %w", markerName, err)
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxMarker)) //nolint:forbidigo // it is limited
	if err = errors.Join(err, f.Close()); err == nil {
		p, err = parseMarker(string(raw))
	}
	if err != nil {
		return p, false, fmt.Errorf("read %s: %w", markerName, err)
	}
	return p, true, nil
}

// checkManifest compares the manifest that the marker knows with what is there of
// it. When it is gone there is a newer one, which Pebble looks for.
func (s *Store) checkManifest(p marker) error {
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

// checkLogs looks for the logs that the marker names, each at least as long as
// what was synced of it.
func (s *Store) checkLogs(p marker) error {
	system := s.fileSystem()
	names, err := system.List(s.opts.Dir)
	if err != nil {
		return fmt.Errorf("list %s: %w", s.opts.Dir, err)
	}
	paths := make(map[uint64]string)
	newest := uint64(0)
	for _, name := range names {
		if number, isLog := logNumberOf(name); isLog {
			paths[number] = system.PathJoin(s.opts.Dir, name)
			newest = max(newest, number)
		}
	}
	if newest < p.v1Log {
		return fmt.Errorf("%w: %06d.log is missing", ErrCorrupt, p.v1Log)
	}
	for _, log := range p.logs {
		path, ok := paths[log.number]
		if !ok {
			return fmt.Errorf("%w: %06d.log is missing", ErrCorrupt, log.number)
		}
		info, err := system.Stat(path)
		if err != nil {
			return fmt.Errorf("look at %06d.log: %w", log.number, err)
		}
		if info.Size() < log.size {
			return fmt.Errorf("%w: %06d.log has %d bytes, it had %d at least", ErrCorrupt, log.number, info.Size(), log.size)
		}
	}
	return nil
}

// checkCommits reads the number of the last commit and compares it with what the
// marker says.
func checkCommits(db rows, p marker) (count uint64, err error) {
	err = loadRow(db, countKey(), &count)
	if err != nil && !errors.Is(err, ErrNotFound) {
		return 0, fmt.Errorf("read number of commits: %w", err)
	}
	if count < p.commits {
		return 0, fmt.Errorf("%w: %s says %d commits, the database has %d: a log or manifest is older than it was",
			ErrCorrupt, markerName, p.commits, count)
	}
	return count, nil
}

// markerDue asks the goroutine that commits to write the marker.
func (s *Store) markerDue() {
	select {
	case s.due <- struct{}{}:
	default: // it has been asked already
	}
}

// writeMarker writes what is synced at the moment. It may be called from any
// goroutine. An error fails the store.
func (s *Store) writeMarker() error {
	s.markerWrite.Lock()
	defer s.markerWrite.Unlock()
	if err := s.failure(); err != nil {
		return err
	}
	if err := s.nextMarker().write(s.fileSystem(), s.opts.Dir); err != nil {
		return s.fail(err)
	}
	return nil
}

// nextMarker returns a marker of the commits that are synced now. The caller has locked
// markerWrite, so that an older marker never replaces a newer one.
func (s *Store) nextMarker() marker {
	return marker{commits: s.synced.Load(), manifest: *s.manifest.Load(), secret: s.secret, logs: s.logs.list()}
}

// refreshMarker brings the marker up to date, and reports whether it did. When the disk is
// full it does not: the marker stays as it is, which is true, and says less. Nothing is
// removed on its word before it is written, so the store goes on with the space that its
// log has already. Any other error fails the store. One goroutine calls it.
func (s *Store) refreshMarker() bool {
	s.markerWrite.Lock()
	defer s.markerWrite.Unlock()
	if s.failure() != nil {
		return true
	}
	system := s.fileSystem()
	err := s.nextMarker().writeTemp(system, s.opts.Dir)
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		if !s.markerLate {
			s.log.Error("disk full, marker of the store is late: make space", "path", s.opts.Dir, "err", err)
		}
		s.markerLate = true
		return false
	}
	if err == nil {
		err = replaceMarker(system, s.opts.Dir)
	}
	if err != nil {
		_ = s.fail(fmt.Errorf("write %s: %w", markerName, err))
		return true
	}
	if s.markerLate {
		s.log.Info("marker of the store written again", "path", s.opts.Dir)
	}
	s.markerLate = false
	return true
}

// giveUpLog removes a log from the marker, so that Pebble may remove or reuse it.
func (s *Store) giveUpLog(path string) error {
	number, isLog := logNumberOf(path)
	if !isLog || !s.logs.end(number) {
		return nil
	}
	return s.writeMarker()
}

// write makes the marker durable in the directory of a database.
func (p marker) write(system vfs.FS, dir string) error {
	err := p.writeTemp(system, dir)
	if err == nil {
		err = replaceMarker(system, dir)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", markerName, err)
	}
	return nil
}

// writeTemp makes the marker durable under another name.
func (p marker) writeTemp(system vfs.FS, dir string) error {
	f, err := system.Create(system.PathJoin(dir, markerTemp), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(p.text()))
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// replaceMarker puts what writeTemp has written in the place of the marker.
func replaceMarker(system vfs.FS, dir string) error {
	if err := system.Rename(system.PathJoin(dir, markerTemp), system.PathJoin(dir, markerName)); err != nil {
		return err
	}
	return syncDir(system, dir)
}
