// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"cmp"
	"errors"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// maxWaitingFiles bounds the automatic downloads of a contact at the same time. Further
	// files are offered, and a person can fetch them.
	maxWaitingFiles = 256
	// maxParallel bounds the files that are moved at the same time.
	maxParallel = 4
)

// queue chooses the files of an account that are moved next: of each conversation those
// that are due first, uploads before downloads, and conversations with the fewest active
// attempts first. So a conversation with many files does not delay the others.
type queue struct {
	store    *store.Store
	parallel int // bounds the active attempts
}

// choice is the result of [queue.next].
type choice struct {
	files []store.Media // to be started, in this order
	more  bool          // there are others that are due and have no place
	wait  time.Duration // until the next file is due; negative without one
}

// conversationFiles are the files of a conversation that are due.
type conversationFiles struct {
	store.Conversation
	active             int
	listed             bool
	uploads, downloads []store.Transfer
}

// next chooses at most as many files as there are free places. rest returns the pause of
// a file, zero for most.
func (q queue) next(
	account identity.PublicKey, now time.Time, active map[string]store.Conversation, rest func(name string) time.Duration,
) (choice choice, err error) {
	choice.wait = -1
	waiting, err := q.due(account, now, active, rest, &choice)
	if err != nil {
		return choice, err
	}
	free, downloads := q.parallel-len(active), max(q.parallel-1, 1)-len(active)
	for _, uploads := range []bool{true, false} {
		for {
			slices.SortStableFunc(waiting, func(a, b *conversationFiles) int { return cmp.Compare(a.active, b.active) })
			i := slices.IndexFunc(waiting, func(c *conversationFiles) bool {
				return len(*c.files(uploads)) > 0 && c.active < max(q.parallel/2, 1)
			})
			if i < 0 {
				break
			}
			if free <= 0 || !uploads && downloads <= 0 { // one place is reserved for uploads
				choice.more = true
				break
			}
			files := waiting[i].files(uploads)
			next := (*files)[0]
			*files = (*files)[1:]
			m, err := q.store.Media(next.Account, next.Conversation, next.Message)
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return choice, err
			}
			choice.files = append(choice.files, m)
			waiting[i].active++
			free--
			downloads--
		}
	}
	return choice, nil
}

func (c *conversationFiles) files(uploads bool) *[]store.Transfer {
	if uploads {
		return &c.uploads
	}
	return &c.downloads
}

// due collects the files that are due, by conversation: at most parallel of each.
func (q queue) due(
	account identity.PublicKey, now time.Time, active map[string]store.Conversation, rest func(name string) time.Duration, choice *choice,
) ([]*conversationFiles, error) {
	found := make(map[store.ConversationID]*conversationFiles)
	var order []*conversationFiles
	for _, p := range active {
		if p.Account != account {
			continue
		}
		if found[p.ID] == nil {
			found[p.ID] = &conversationFiles{Conversation: p}
		}
		found[p.ID].active++
	}
	later := func(d time.Duration) {
		if choice.wait < 0 || d < choice.wait {
			choice.wait = d
		}
	}
	collect := func(next store.Transfer) {
		c := found[next.Conversation]
		if c == nil {
			c = &conversationFiles{Conversation: store.Conversation{Account: account, ID: next.Conversation}}
			found[next.Conversation] = c
		}
		if !c.listed {
			c.listed = true
			order = append(order, c)
		}
		files := c.files(next.Message.Dir == store.Out)
		if len(*files) >= q.parallel {
			return
		}
		name := transferName(store.Media{Account: account, Conversation: next.Conversation, Message: next.Message})
		if _, running := active[name]; running {
			return
		}
		if wait := rest(name); wait > 0 {
			later(wait)
			return
		}
		*files = append(*files, next)
	}
	last := now.Add(lastTransferRetry * 3 / 2) // longer than any back-off
	err := q.store.EachTransfer(account, 0, func(next store.Transfer) bool {
		if wait := next.Due.Time().Sub(now); wait > 0 {
			if !next.Due.Time().After(last) {
				later(wait)
			}
			return false
		}
		collect(next)
		return true
	})
	if err != nil {
		return nil, err
	}
	// A file that is due after that was noted before the clock was set back.
	err = q.store.EachTransfer(account, store.MillisOf(last)+1, func(next store.Transfer) bool {
		collect(next)
		return true
	})
	return order, err
}

// hasManyFiles reports whether a contact has maxWaitingFiles downloads in the queue.
func (s *Service) hasManyFiles(p store.Conversation) (bool, error) {
	n := 0
	err := s.deps.Store.EachTransfer(p.Account, 0, func(next store.Transfer) bool {
		if next.Conversation == p.ID && next.Message.Dir == store.In {
			n++
		}
		return n < maxWaitingFiles
	})
	return n >= maxWaitingFiles, err
}
