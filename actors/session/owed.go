// SPDX-License-Identifier: MPL-2.0

package session

import (
	"sync"
	"time"

	"github.com/mimird/mimird/actors/store"
)

const (
	// owedFilesTime is how long a file is owed. After it the contact has to request the
	// file again.
	owedFilesTime = 10 * time.Minute
	// maxOwedPairs bounds the pairs that are owed files; each is owed at most
	// maxFileRequests of them.
	maxOwedPairs = 256
)

// owedFiles are files that contacts have requested in a session that could not send them:
// the next one sends them. It is safe for concurrent use.
type owedFiles struct {
	mu    sync.Mutex
	pairs map[store.Conversation]owed
}

type owed struct {
	files []servedFile
	until time.Time
}

func newOwedFiles() *owedFiles { return &owedFiles{pairs: make(map[store.Conversation]owed)} }

// put adds files of a pair. Files beyond the bounds are dropped; the contact has to
// request them again.
func (o *owedFiles) put(p store.Conversation, files []servedFile, now time.Time) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for other, owed := range o.pairs {
		if now.After(owed.until) {
			delete(o.pairs, other)
		}
	}
	before, ok := o.pairs[p]
	if !ok && len(o.pairs) >= maxOwedPairs {
		return
	}
	o.pairs[p] = owed{appendServed(before.files, files), now.Add(owedFilesTime)}
}

// has reports whether a pair is owed files.
func (o *owedFiles) has(p store.Conversation, now time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	owed, ok := o.pairs[p]
	return ok && now.Before(owed.until)
}

// take returns the files that a pair is owed, and removes them.
func (o *owedFiles) take(p store.Conversation, now time.Time) []servedFile {
	o.mu.Lock()
	defer o.mu.Unlock()
	owed, ok := o.pairs[p]
	delete(o.pairs, p)
	if !ok || now.After(owed.until) {
		return nil
	}
	return owed.files
}
