// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"path/filepath"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The newest write-ahead log of a process that was killed ends in a torn record, or
// where its unused space begins. A damaged record looks the same. Pebble tells the two
// apart by marks in the records behind the place, which say up to where the log was
// synced when they were written. These marks are too low: they leave out what was
// written as a full block (Pebble 2.1.7, see docs/pebble-sync-marks.md), so that
// Pebble takes damage for the end of the log and drops all that follows.
//
// Our commits give a better proof. A commit is written only when the one before it
// was synced, and its record ends with its number. So when the newest log has a
// record with the number n, commit n-1 was synced. If Pebble has read the log, and
// the database has fewer commits than n-1, then something before that record is
// damaged.
//
// Behind the end of a log that is used again is what an older log has left there:
// messages, also, of contacts who wrote them to look like commits. So only a record
// with the secret counts, random bytes that are known only in this directory.
// The first marker of a store gets it and all later ones keep it.

// The format of Pebble's logs: blocks of 32 KiB, in them chunks, none across two
// blocks. A chunk begins with a header:
//
//	0  4  checksum of what follows from byte 6 on
//	4  2  length of the payload
//	6  1  kind: part of a record, and which header this is
//	7  4  low bits of the log's number
//	11 8  up to where the log was synced; not in the older header
const (
	logBlock        = 32 << 10
	logHeader       = 11
	logHeaderSynced = 19

	chunkFull       = 5 // the first kind with the older header, of four
	chunkFullSynced = 9 // (same) with the newer one

	partFull   = 0
	partFirst  = 1
	partMiddle = 2
	partLast   = 3
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// chunk is a part of a record.
type chunk struct {
	part    int
	payload []byte
	size    int // with its header
}

// readChunk reads the chunk at the beginning of b, which ends where the block does.
func readChunk(b []byte, log uint32) (c chunk, ok bool) {
	if len(b) < logHeader {
		return c, false
	}
	header, kind := logHeader, int(b[6])
	switch {
	case kind >= chunkFullSynced && kind < chunkFullSynced+4:
		header, c.part = logHeaderSynced, kind-chunkFullSynced
	case kind >= chunkFull && kind < chunkFull+4:
		c.part = kind - chunkFull
	default:
		return c, false
	}
	c.size = header + int(binary.LittleEndian.Uint16(b[4:]))
	if binary.LittleEndian.Uint32(b[7:]) != log || c.size > len(b) {
		return c, false
	}
	sum := crc32.Checksum(b[6:c.size], castagnoli)
	if binary.LittleEndian.Uint32(b) != (sum>>15|sum<<17)+0xa282ead8 {
		return c, false
	}
	c.payload = b[header:c.size]
	return c, true
}

// tail reads a log and remembers what proves damage.
type tail struct {
	log     uint32
	commits uint64 // what the database has
	secret  []byte
	invalid int64  // the first invalid place that is not the end of a block; -1 for none
	partial []byte // of a record whose first chunk was read; nil for none
	lost    bool   // a commit was synced and is missing
}

// checkTail looks in the newest log for commits that the database, which has that
// many, should have and has not. Records without the secret do not count. Errors: [ErrCorrupt], and those of the file system.
func checkTail(system vfs.FS, path string, commits uint64, secret []byte) error {
	number, _ := logNumberOf(path)
	f, err := system.Open(path, vfs.SequentialReadsOption)
	if err != nil {
		return fmt.Errorf("open %s: %w", filepath.Base(path), err)
	}
	t := tail{log: uint32(number), commits: commits, secret: secret, invalid: -1} //nolint:gosec // Pebble writes the low bits
	block := make([]byte, logBlock)
	var at int64
	for err == nil && !t.lost {
		var n int
		n, err = io.ReadFull(f, block)
		t.block(block[:n], at)
		at += int64(n)
	}
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = nil
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return fmt.Errorf("read %s: %w", filepath.Base(path), err)
	}
	if t.lost {
		return fmt.Errorf("%w: %s is damaged at byte %d, and commits that were synced follow", ErrCorrupt, filepath.Base(path), max(t.invalid, 0))
	}
	return nil
}

// block reads a block. Behind an invalid place a chunk may begin anywhere.
func (t *tail) block(b []byte, at int64) {
	for i := 0; i < len(b); {
		c, ok := readChunk(b[i:], t.log)
		switch {
		case ok:
			t.chunk(c)
			i += c.size
		case len(b)-i < logHeaderSynced && len(bytes.Trim(b[i:], "\x00")) == 0:
			return // no chunk fits here
		default:
			if t.invalid < 0 {
				t.invalid = at + int64(i)
			}
			t.partial = nil
			i++
		}
	}
}

func (t *tail) chunk(c chunk) {
	switch c.part {
	case partFull:
		t.record(c.payload)
		t.partial = nil
	case partFirst:
		t.partial = append([]byte{}, c.payload...)
	case partMiddle, partLast:
		if t.partial == nil {
			return // its beginning is behind the invalid place
		}
		t.partial = append(t.partial, c.payload...)
		if c.part == partLast {
			t.record(t.partial)
			t.partial = nil
		}
	}
}

func (t *tail) record(batch []byte) {
	number, ok := commitNumber(batch, t.secret)
	t.lost = t.lost || ok && number >= t.commits+2
}

// newSecret returns what makes the records of a store known as such.
func newSecret() []byte {
	secret := make([]byte, 16)
	_, _ = rand.Read(secret) // it never fails
	return secret
}

// commitNumber returns the number in the record of a synced commit, its last row,
// in front of which is the secret.
func commitNumber(batch, secret []byte) (number uint64, ok bool) {
	if len(batch) < batchrepr.HeaderLen {
		return 0, false
	}
	rows := batchrepr.Read(batch)
	ours := false // the secret is in front of this row
	for {
		kind, key, value, more, err := rows.Next()
		if err != nil {
			return 0, false
		}
		if !more {
			return number, ok
		}
		if ok = ours && kind == pebble.InternalKeyKindSet && bytes.Equal(key, countKey()); ok {
			ok = decode(value, &number) == nil
		}
		ours = kind == pebble.InternalKeyKindLogData && bytes.Equal(key, secret)
	}
}
