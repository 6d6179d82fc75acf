// SPDX-License-Identifier: MPL-2.0

package store

import (
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// cramped is a disk on which no room can be taken in advance.
type cramped struct{ likeDisk }

type crampedFile struct{ vfs.File }

func (d cramped) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := d.likeDisk.Create(name, category)
	return crampedFile{f}, err
}

func (crampedFile) Preallocate(int64, int64) error { return syscall.EOPNOTSUPP }

func TestLogFile_ZerosPreallocated(t *testing.T) {
	const size = 64 << 10 // less than what is written ahead at a time
	for name, test := range map[string]struct {
		fs      vfs.FS
		atLeast int
		atMost  int
	}{
		"disk":                  {likeDisk{vfs.NewMem()}, size, 2 * size},
		"disk that cannot":      {cramped{likeDisk{vfs.NewMem()}}, 1, size - 1},
		"file system in memory": {vfs.NewMem(), 1, size - 1},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t, Options{FS: test.fs, MemTableBytes: size})
			b.accept(1)
			names, err := test.fs.List("store")
			if err != nil {
				t.Fatal(err)
			}
			logs := 0
			for _, name := range names {
				if strings.HasSuffix(name, ".log") {
					logs++
					if have := len(readFile(t, test.fs, "store/"+name)); have < test.atLeast || have > test.atMost {
						t.Errorf("%s has %d bytes", name, have)
					}
				}
			}
			if logs == 0 {
				t.Errorf("no logs: %q", names)
			}
			b.check()
		})
	}
}
