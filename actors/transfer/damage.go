// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"context"
	"errors"
	"fmt"
	"io/fs"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/actors/store"
)

// damagedReason tells a person why a file that was here is fetched again.
const damagedReason = "it was damaged on the disk and is fetched again"

// fileDamaged is media.Options.OnDamage: the media store has removed a corrupt file. Its
// messages fetch it again from where it came from; a message whose file was never
// uploaded fails when the upload is tried. It waits for the store, so it must not be
// called in an actor.
func (s *Service) fileDamaged(h media.Hash) {
	s.deps.Log.Error("file is corrupt", "component", "media", "blob", h.String())
	if s.deps.Writer().IsZero() {
		return // the node is not started: Fetch finds that the file is missing
	}
	err := s.eachMedia(func(m store.Media) error {
		if m.Hash != h || m.State != store.MediaStored {
			return nil
		}
		m.State, m.Asked, m.Attempts, m.Due, m.Reason = store.MediaDownloading, true, 0, s.nowMillis(), damagedReason
		_, err := store.Do[bool](context.Background(), s.deps.Writer(), store.ChangeMedia{From: store.MediaStored, Media: m})
		if errors.Is(err, store.ErrNotFound) {
			return nil // the message was removed
		}
		return err
	})
	if err != nil {
		s.deps.Log.Error("corrupt file is not fetched again", "component", "media", "blob", h.String(), "err", err)
	}
}

// maxMediaProblems bounds the problems that Check returns.
const maxMediaProblems = 100

// Check compares the files of all messages with their hashes, and returns one phrase for
// each that is corrupt or missing. It reads all files from the disk.
func (s *Service) Check() (problems []string, err error) {
	seen := make(map[media.Hash]string) // what is wrong, "" when nothing is
	err = s.eachMedia(func(m store.Media) error {
		if m.State != store.MediaStored && m.State != store.MediaUploading || len(problems) >= maxMediaProblems {
			return nil
		}
		what, known := seen[m.Hash]
		if !known {
			err := s.media.Verify(m.Hash)
			switch {
			case errors.Is(err, fs.ErrNotExist):
				what = "it is missing"
			case err != nil:
				what = err.Error()
			}
			seen[m.Hash] = what
		}
		if what == "" {
			return nil
		}
		// The row of a file that was evicted meanwhile has changed before.
		now, err := s.deps.Store.Media(m.Account, m.Conversation, m.Message)
		if err == nil && now.State == m.State && now.Hash == m.Hash {
			problems = append(problems, fmt.Sprintf("file %s of message %s with %s: %s", m.Hash, m.Message, m.Conversation.Short(), what))
		}
		return nil
	})
	return problems, err
}
