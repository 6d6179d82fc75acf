// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
)

// Eviction from the media store when its quota is reached. Incomplete files go first:
// nobody can open them, and they can be fetched again. The files of one contact have a
// quarter of the quota at most, over all accounts.
//
// References are not counted but read: the rows say which files are needed, so no
// counter can be wrong. A file is needed until it is uploaded and its message
// delivered, and until every consumer of the event log has seen it. Of the others the
// file whose last reference is the oldest is evicted first. Its rows then say so; a
// person can fetch it again while a server has it.

// candidate is a file that may be evicted.
type candidate struct {
	hash media.Hash
	size int64
	// last is when a message last got the file, lastSeq the event of that.
	last    store.Millis
	lastSeq uint64
	needed  bool
	rows    []store.Media
}

// evictBytes evicts files of at least that many bytes, or all that are not needed. It
// is media.Options.Evict, so it runs in goroutines only and once at a time.
func (s *Service) evictBytes(bytes int64) error {
	watch := s.placements.watch()
	defer s.placements.unwatch(watch)
	removed, err := s.media.EvictPartials(bytes)
	if err != nil {
		return fmt.Errorf("evict files: %w", err)
	}
	if removed >= bytes {
		return nil
	}
	evicted, err := s.evictOldest(watch, bytes-removed)
	removed += evicted
	if err == nil && removed < bytes {
		before, _ := s.media.Used()
		err = s.tidyMedia() // files of which no row is left
		after, _ := s.media.Used()
		removed += max(before-after, 0)
	}
	if err != nil {
		return fmt.Errorf("evict files: %w", err)
	}
	if removed == 0 {
		return media.ErrFull
	}
	return nil
}

// evictOldest evicts files that are not needed, the oldest first, until they have at
// least that many bytes, and returns how many they have. It reads the rows up to there.
func (s *Service) evictOldest(watch *placementWatch, bytes int64) (removed int64, err error) {
	err = s.deps.Store.EachStored(func(m store.Media) (more bool, err error) {
		file, err := s.candidateOf(m)
		if err != nil || file == nil {
			return true, err
		}
		gone, err := s.evict(watch, file)
		if err != nil || !gone {
			return true, err // needed again meanwhile
		}
		removed += file.size
		s.deps.Log.Info("file evicted", "component", "media", "blob", file.hash.Short(), "bytes", file.size)
		return removed < bytes, nil
	})
	return removed, err
}

// candidateOf returns the file of a message if it may be evicted and this message got it
// last, else nil.
func (s *Service) candidateOf(m store.Media) (*candidate, error) {
	if !s.media.Has(m.Hash) {
		return nil, nil
	}
	rows, err := s.deps.Store.MediaOfFile(m.Hash)
	for _, other := range rows {
		if other.State == store.MediaStored && other.Changed > m.Changed {
			return nil, nil // the file is as old as its latest message
		}
		needed, err := s.needsFile(other)
		if needed || err != nil {
			return nil, err
		}
	}
	if err != nil || len(rows) == 0 { // removed since the index was read
		return nil, err
	}
	return &candidate{hash: m.Hash, size: m.Size, last: m.Changed, rows: rows}, nil
}

// contactShare is the fraction of the quota that the files of one contact may have: a
// quarter.
const contactShare = 4

// evictFor evicts files that a contact or the members of a group have sent, until another
// one of that size is within the share of the conversation. Errors: [ErrFileTooLarge] when it never could be;
// media.ErrFull while the others are needed.
func (s *Service) evictFor(conversation store.ConversationID, size int64) error {
	_, quota := s.media.Used()
	share := quota / contactShare
	if size > share {
		return fmt.Errorf("%w: %d bytes, and the files of one contact may take %d", ErrFileTooLarge, size, share)
	}
	watch := s.placements.watch()
	defer s.placements.unwatch(watch)
	byHash := make(map[media.Hash]*candidate)
	total := int64(0)
	err := s.eachMediaOf(conversation, func(m store.Media) error {
		if m.State != store.MediaStored || m.Message.Dir != store.In {
			return nil
		}
		file, ok := byHash[m.Hash]
		if !ok {
			file = &candidate{hash: m.Hash, size: m.Size}
			byHash[m.Hash] = file
			total += m.Size
		}
		needed, err := s.needsFile(m)
		file.needed = file.needed || needed
		file.last, file.lastSeq = max(file.last, m.Changed), max(file.lastSeq, m.Seq)
		file.rows = append(file.rows, m)
		return err
	})
	if err != nil || total+size <= share {
		return err
	}
	found := slices.SortedFunc(maps.Values(byHash), func(a, b *candidate) int {
		return cmp.Or(cmp.Compare(a.last, b.last), cmp.Compare(a.lastSeq, b.lastSeq))
	})
	for _, file := range found {
		if total+size <= share {
			break
		}
		if file.needed {
			continue
		}
		gone, err := s.evictOf(watch, conversation, file)
		if err != nil {
			return err
		}
		if !gone {
			continue // needed again meanwhile
		}
		total -= file.size
		s.deps.Log.Info("file evicted", "component", "media", "contact", conversation.Short(), "blob", file.hash.Short(), "bytes", file.size)
	}
	if total+size > share {
		return fmt.Errorf("the files of the contact: %w", media.ErrFull)
	}
	return nil
}

// evictOf evicts a file that a contact has sent; it stays when messages of others have
// the same one. It reports whether the contact's rows say that it was evicted.
func (s *Service) evictOf(watch *placementWatch, conversation store.ConversationID, file *candidate) (gone bool, err error) {
	all, err := s.deps.Store.MediaOfFile(file.hash)
	if err != nil {
		return false, err
	}
	shared := slices.ContainsFunc(all, func(m store.Media) bool {
		return m.Conversation != conversation || m.Message.Dir != store.In
	})
	if !shared {
		return s.evict(watch, file)
	}
	return s.markEvicted(file)
}

func (s *Service) eachMediaOf(conversation store.ConversationID, f func(store.Media) error) error {
	accounts, err := s.deps.Store.Accounts()
	if err != nil {
		return err
	}
	for _, a := range accounts {
		if err := s.deps.Store.EachMediaOf(a.ID, conversation, f); err != nil {
			return err
		}
	}
	return nil
}

// mediaInUse returns all files of the media store, the oldest first. It reads what is known
// of every file.
func (s *Service) mediaInUse() ([]*candidate, error) {
	byHash := make(map[media.Hash]*candidate)
	err := s.media.Each(func(h media.Hash, size int64) error {
		byHash[h] = &candidate{hash: h, size: size}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = s.eachMedia(func(m store.Media) error {
		file, ok := byHash[m.Hash]
		if !ok {
			return nil
		}
		needed, err := s.needsFile(m)
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
func (s *Service) needsFile(m store.Media) (bool, error) {
	if m.State == store.MediaUploading {
		return true, nil
	}
	if m.State != store.MediaStored {
		return false, nil
	}
	if m.Message.Dir == store.Out {
		msg, err := s.deps.Store.Message(m.Account, m.Conversation, m.Message)
		if errors.Is(err, store.ErrNotFound) {
			return false, nil
		}
		return msg.State == store.StatePending, err
	}
	for _, consumer := range s.deps.Options.Consumers {
		seen, err := s.deps.Store.Cursor(consumer, m.Account, m.Conversation)
		if err != nil || seen < m.Seq {
			return true, err
		}
	}
	return false, nil
}

// evict removes a file, after its rows say so: the other way round a crash would
// leave rows that promise what is gone. It reports whether it did: a file that was
// placed or asked for since it was chosen stays.
func (s *Service) evict(watch *placementWatch, file *candidate) (gone bool, err error) {
	err = s.placements.remove(watch, file.hash, func() error {
		marked, err := s.markEvicted(file)
		if err != nil || !marked {
			return err
		}
		gone = true
		return s.media.Remove(file.hash)
	})
	return gone, err
}

// markEvicted says in the rows of a file that it is not here any more. It reports
// false, and leaves the rest of the rows alone, when one of them needs it by now.
func (s *Service) markEvicted(file *candidate) (bool, error) {
	for _, m := range file.rows {
		now, err := s.deps.Store.Media(m.Account, m.Conversation, m.Message)
		if errors.Is(err, store.ErrNotFound) {
			continue // removed with its contact
		}
		if err != nil {
			return false, err
		}
		needed, err := s.needsFile(now)
		if err != nil || needed {
			return false, err
		}
	}
	for _, m := range file.rows {
		if m.State != store.MediaStored {
			continue
		}
		m.State = store.MediaEvicted
		changed, err := store.Do[bool](context.Background(), s.deps.Writer(), store.ChangeMedia{From: store.MediaStored, Media: m})
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		if !changed {
			now, err := s.deps.Store.Media(m.Account, m.Conversation, m.Message)
			if err == nil && now.State == store.MediaUploading {
				return false, nil // it is to be uploaded once more
			}
		}
	}
	return true, nil
}
