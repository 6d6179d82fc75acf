// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// Behind the records of every log there is nothing but zeros, also after many logs:
// what an older log left in a reused file could be replayed after a kill.
func TestLog_NothingOfAnOlderLog(t *testing.T) {
	LeavesGoroutines(t)
	mem := vfs.NewCrashableMem()
	b := newBench(t, Options{FS: mem, MemTableBytes: 256 << 10})
	seen := map[uint64]bool{}
	for guid := int64(1); len(seen) < 8; guid++ {
		b.submit(AcceptMessage{Account: testAccount, Conversation: ContactConversation(testContact), GUID: guid, Payload: bytes.Repeat([]byte("old"), 20_000)})
		b.commit()
		killed := mem.CrashClone(vfs.CrashCloneCfg{})
		for _, log := range b.store.logs.list() {
			if seen[log.number] && guid%8 != 0 {
				continue // looked at when it was new, and now and then
			}
			seen[log.number] = true
			content := readFile(t, killed, fmt.Sprintf("store/%06d.log", log.number))
			if rest := content[log.size:]; len(bytes.Trim(rest, "\x00")) != 0 {
				t.Fatalf("log %d: something is behind its %d bytes: %.20q", log.number, log.size, bytes.TrimLeft(rest, "\x00"))
			}
		}
	}
}
