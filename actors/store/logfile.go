// SPDX-License-Identifier: MPL-2.0

package store

import "strings"

// logZeros is by how much zeros are ahead of what a log holds: space for hundreds of
// messages, written in a millisecond or two.
const logZeros = 256 << 10

var zeros [logZeros]byte

func isLog(path string) bool { return strings.HasSuffix(path, ".log") }

// logFile is a write-ahead log that is being written. It notes how much of it is
// synced, for the marker.
//
// The space of a log is filled with zeros before records go there: a sync that only
// overwrites what the file has already, and has no new size or new blocks to record,
// takes two thirds of the time, and spares flash memory the writes of the file
// system's own journal. Pebble expects zeros behind the end of a log.
type logFile struct {
	failStopFile
	number uint64
	end    int64 // behind the last record
	zeroed int64 // up to here the file was written
	space  int64 // up to here the disk has space for it
}

// Preallocate reserves space.
func (f *logFile) Preallocate(offset, length int64) error {
	return f.fs.do("grow", f.path, func() error {
		if err := f.File.Preallocate(offset, length); err != nil {
			return err
		}
		f.space = offset + length
		return nil
	})
}

func (f *logFile) Write(p []byte) (int, error) {
	f.end += int64(len(p))
	if f.end > f.zeroed && f.end < f.space {
		ahead := zeros[:min(logZeros, f.space-f.end)]
		err := f.fs.do("grow", f.path, func() error {
			_, err := f.WriteAt(ahead, f.end)
			return err
		})
		if err != nil {
			return 0, err
		}
		f.zeroed = f.end + int64(len(ahead))
	}
	return f.failStopFile.Write(p)
}

// Sync implements vfs.File.
func (f *logFile) Sync() error { return f.sync(f.failStopFile.Sync) }

// SyncData implements vfs.File.
func (f *logFile) SyncData() error { return f.sync(f.failStopFile.SyncData) }

func (f *logFile) sync(call func() error) error {
	if err := call(); err != nil {
		return err
	}
	f.fs.store.logs.synced(f.number, f.end)
	return nil
}
