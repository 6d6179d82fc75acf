// SPDX-License-Identifier: MPL-2.0

package store

import (
	"cmp"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// liveLog is a write-ahead log with how many bytes of it are synced.
type liveLog struct {
	number uint64
	size   int64
}

// liveLogs are the write-ahead logs that exist and that Pebble still needs. It
// is safe for concurrent use: Pebble writes, removes and reuses logs in goroutines
// of its own.
type liveLogs struct {
	mu    sync.Mutex
	sizes map[uint64]int64
}

// begin lists a log whose directory entry is synced.
func (l *liveLogs) begin(log liveLog) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sizes == nil {
		l.sizes = make(map[uint64]int64)
	}
	l.sizes[log.number] = log.size
}

// synced notes how much of a listed log is synced.
func (l *liveLogs) synced(number uint64, size int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before, ok := l.sizes[number]; ok && before < size {
		l.sizes[number] = size
	}
}

// end removes a log from the list and reports whether it was there.
func (l *liveLogs) end(number uint64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.sizes[number]
	delete(l.sizes, number)
	return ok
}

// list returns the logs, oldest first.
func (l *liveLogs) list() []liveLog {
	l.mu.Lock()
	defer l.mu.Unlock()
	logs := make([]liveLog, 0, len(l.sizes))
	for number, size := range l.sizes {
		logs = append(logs, liveLog{number, size})
	}
	slices.SortFunc(logs, func(a, b liveLog) int { return cmp.Compare(a.number, b.number) })
	return logs
}

// logNumberOf returns the number in the name of a write-ahead log.
func logNumberOf(path string) (number uint64, isLog bool) {
	digits, isLog := strings.CutSuffix(filepath.Base(path), ".log")
	number, err := strconv.ParseUint(digits, 10, 64)
	return number, isLog && err == nil
}
