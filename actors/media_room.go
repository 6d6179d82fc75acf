// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
)

// What makes room in the media store when its quota is reached.
//
// References are not counted but read: the rows say which files are needed, so
// there is no number that could be wrong. Needed is what has not been delivered or
// uploaded yet, and what a consumer of the event log has not seen yet. Of the rest
// the file goes first whose last reference is the oldest. Its rows then say that
// it was evicted; a person can fetch it again while a server has it.

// candidate is a file that may have to go.
type candidate struct {
	hash   media.Hash
	size   int64
	last   store.Millis // when it was stored last
	needed bool
	rows   []store.Media
}

// makeRoom removes files of at least that many bytes, or all that may go. It is
// media.Options.MakeRoom, so it runs in goroutines only and once at a time.
func (e *env) makeRoom(bytes int64) error {
	// Nobody places a file while it is decided which ones are needed.
	e.placing.Lock()
	defer e.placing.Unlock()
	found, err := e.mediaInUse()
	if err != nil {
		return fmt.Errorf("make room for a file: %w", err)
	}
	removed := int64(0)
	for _, file := range found {
		if removed >= bytes {
			break
		}
		if file.needed {
			continue
		}
		if err := e.evict(file); err != nil {
			return fmt.Errorf("make room for a file: %w", err)
		}
		removed += file.size
		e.log.Info("A file was removed from the media store to make room", "component", "media", "file", file.hash.Short(), "bytes", file.size)
	}
	if removed == 0 {
		return media.ErrFull
	}
	return nil
}

// mediaInUse returns all files, those first that nobody needs, oldest first.
func (e *env) mediaInUse() ([]*candidate, error) {
	byHash := make(map[media.Hash]*candidate)
	err := e.media.Each(func(h media.Hash, size int64) error {
		byHash[h] = &candidate{hash: h, size: size}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = e.eachMedia(func(m store.Media) error {
		file, ok := byHash[m.Hash]
		if !ok {
			return nil
		}
		needed, err := e.needsFile(m)
		file.needed = file.needed || needed
		file.last = max(file.last, m.Changed)
		file.rows = append(file.rows, m)
		return err
	})
	if err != nil {
		return nil, err
	}
	all := make([]*candidate, 0, len(byHash))
	for _, file := range byHash {
		all = append(all, file)
	}
	slices.SortFunc(all, func(a, b *candidate) int {
		if a.last != b.last {
			return int(min(max(a.last-b.last, -1), 1))
		}
		return slices.Compare(a.hash[:], b.hash[:])
	})
	return all, nil
}

// needsFile reports whether a message needs its file to be here.
func (e *env) needsFile(m store.Media) (bool, error) {
	if m.State == store.MediaUploading {
		return true, nil
	}
	if m.State != store.MediaStored {
		return false, nil
	}
	if m.Message.Dir == store.Out {
		msg, err := e.store.Message(m.Account, m.Contact, m.Message)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return msg.State == store.StatePending, err
	}
	for _, consumer := range e.opts.Media.Consumers {
		seen, err := e.store.Cursor(consumer, m.Account, m.Contact)
		if err != nil || seen < m.Seq {
			return true, err
		}
	}
	return false, nil
}

// evict removes a file, after its rows say so: the other way round a crash would
// leave rows that promise what is gone.
func (e *env) evict(file *candidate) error {
	for _, m := range file.rows {
		from := m.State
		m.State = store.MediaEvicted
		if from != store.MediaStored {
			continue
		}
		_, err := store.Do[bool](context.Background(), e.writer, store.ChangeMedia{From: from, Media: m})
		if err != nil && !errors.Is(err, store.ErrNotFound) {
			return err
		}
	}
	return e.media.Remove(file.hash)
}
