// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/search"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

const (
	// maxIndexShare is how much disk the index may take, as a part of the store.
	maxIndexShare = 0.3
	// maxIndexMemory is how much memory its building may take, in bytes.
	maxIndexMemory = 96 << 20
	// maxSearch is how long a search may take.
	maxSearch = 100 * time.Millisecond
	// vocabulary is how many words people use, and zipfExponent how much they prefer the
	// first ones.
	vocabulary   = 50_000
	zipfExponent = 1.1
	// probeEvery is how often the memory is looked at.
	probeEvery = 50 * time.Millisecond
	// completeEvery is how often the index is asked whether it has everything.
	completeEvery = 200 * time.Millisecond
	// shareFrom is from how many messages on the index may take no more than maxIndexShare:
	// a few have a large part of the vocabulary.
	shareFrom = 100_000
)

// searchFigures measure the search index.
func searchFigures() []figure {
	return []figure{
		{"growth-search-index", "message", 250 * time.Microsecond, nil, measureIndexing},
		{"growth-search", "search", maxSearch, nil, measureSearching},
	}
}

// word returns the n-th word of the vocabulary. In texts words have 4.5 letters on average,
// as in English.
func word(n uint64) string {
	const consonants, vowels = "bdfgklmnprstvz", "aeiou"
	var b strings.Builder
	last := consonants[n%uint64(len(consonants))]
	for n++; n > 0; n /= uint64(len(consonants) * len(vowels)) {
		b.WriteByte(consonants[n%uint64(len(consonants))])
		b.WriteByte(vowels[n/uint64(len(consonants))%uint64(len(vowels))])
	}
	b.WriteByte(last)
	return b.String()
}

// textOf returns words of about as many bytes.
func textOf(random *rand.Rand, size int) []byte {
	words := rand.NewZipf(random, zipfExponent, 4, vocabulary)
	text := make([]byte, 0, size+16)
	for len(text) < size {
		text = append(append(text, word(words.Uint64())...), ' ')
	}
	return text[:size]
}

// searched is a store as what the index is made from.
type searched struct{ *store.Store }

func (s searched) ConversationMessage(account identity.PublicKey, c store.ConversationID, id store.MessageID) (store.Message, error) {
	return s.Message(account, c, id)
}

func (s searched) ConversationMessages(account identity.PublicKey, c store.ConversationID, before uint64, limit int) ([]store.Message, error) {
	return s.Messages(account, c, before, limit)
}

func (s searched) WatchEvents() *store.Watch { return s.Watch(identity.PublicKey{}) }
func (s searched) DiskLow() bool             { return false }

// withIndex calls f with the search of a store, when it has read all events.
func (r *rig) withIndex(ctx context.Context, f func(*search.Service) error) error {
	return r.read(func(s *store.Store) (err error) {
		service := search.New(r.dir)
		system := kernel.NewSystem(kernel.Options{Logger: slog.New(slog.DiscardHandler)})
		defer func() {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
			defer cancel()
			err = errors.Join(err, system.Stop(ctx))
		}()
		if _, err := system.Spawn(kernel.Spec{Name: "search", Kind: "search", New: func() kernel.Actor { return service.NewActor(searched{s}) }}); err != nil {
			return err
		}
		for {
			out, err := service.Search(ctx, search.Query{Account: r.account, Files: true})
			if err != nil && !errors.Is(err, search.ErrNotReady) {
				return err
			}
			if err == nil && out.Unread == 0 {
				return f(service)
			}
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-time.After(completeEvery):
			}
		}
	})
}

// measureIndexing measures the building of the whole index, and that its memory and disk
// are bounded.
func measureIndexing(ctx context.Context, r *rig) (took time.Duration, err error) {
	if err := os.RemoveAll(filepath.Join(r.dir, search.DirName)); err != nil {
		return 0, err
	}
	var memory int64
	took, err = once(func() (err error) {
		memory, err = memoryOf(ctx, func() error {
			return r.withIndex(ctx, func(*search.Service) error { return nil })
		})
		return err
	})
	if err != nil {
		return 0, err
	}
	index, err := diskOf(filepath.Join(r.dir, search.DirName))
	if err != nil {
		return 0, err
	}
	stored, err := diskOf(filepath.Join(r.dir, storeDir))
	if err != nil {
		return 0, err
	}
	share := float64(index) / float64(stored)
	fmt.Fprintf(os.Stderr, "      the index has %d bytes, %.1f %% of the store, and took %d MiB of memory\n", index, 100*share, memory>>20)
	if share > maxIndexShare && r.messages >= shareFrom {
		return 0, fmt.Errorf("the index takes %.1f %% of the disk of the store, wanted %.0f %%", 100*share, 100*maxIndexShare)
	}
	if memory > maxIndexMemory {
		return 0, fmt.Errorf("the index took %d MiB of memory, wanted %d", memory>>20, maxIndexMemory>>20)
	}
	return took, nil
}

// memoryOf calls f and returns how much more memory this process had meanwhile than
// before, at most, in bytes.
func memoryOf(ctx context.Context, f func() error) (more int64, err error) {
	before, err := residentMemory()
	if err != nil {
		return 0, err
	}
	probing, stop := context.WithCancel(ctx)
	most := make(chan int64, 1)
	go func() {
		highest := int64(0)
		for {
			if now, err := residentMemory(); err == nil {
				highest = max(highest, now)
			}
			select {
			case <-probing.Done():
				most <- highest
				return
			case <-time.After(probeEvery):
			}
		}
	}()
	err = f()
	stop()
	return <-most - before, err
}

// residentMemory is the memory of this process, in bytes.
func residentMemory() (int64, error) {
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	var size, resident int64
	if _, err := fmt.Sscan(string(raw), &size, &resident); err != nil {
		return 0, fmt.Errorf("read memory: %w", err)
	}
	return resident * int64(os.Getpagesize()), nil
}

// diskOf is how many bytes the files of a directory have.
func diskOf(dir string) (size int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			size += info.Size()
		}
		return err
	})
	return size, err
}

// measureSearching measures the most expensive of some searches.
func measureSearching(ctx context.Context, r *rig) (most time.Duration, err error) {
	common, other, rare := word(0), word(1), word(vocabulary-1)
	contact := store.ContactConversation(r.contact(3))
	queries := []search.Query{
		{Words: common},
		{Words: `"` + common + `"`},
		{Words: common[:3]},
		{Words: word(200)[:3]},
		{Words: word(200)[:4]},
		{Words: rare[:3]},
		{Words: rare},
		{Words: common + " " + rare},
		{Words: common + " " + other + " " + word(2)},
		{Words: `"` + common + " " + other + " " + common + `"`},
		{Words: common, Conversation: contact},
		{Words: common, Sender: r.account},
		{Words: common, Sender: r.contact(3)},
		{Words: common, Until: time.UnixMilli(firstSent).Add(24 * time.Hour)},
		{Words: "b d f"},
		{Words: `"` + rare + " " + common + `"`},
		{Conversation: contact},
		{Sender: r.account, Words: common, Conversation: contact},
		{Files: true},
	}
	err = r.withIndex(ctx, func(s *search.Service) error {
		for _, q := range queries {
			q.Account = r.account
			found := 0
			took, err := cost(func() error {
				out, err := s.Search(ctx, q)
				found = len(out.Messages)
				return err
			})
			if err != nil {
				return err
			}
			fmt.Fprintf(os.Stderr, "      search %q: %v, %d on the page\n", q.Words, took.Round(10*time.Microsecond), found)
			most = max(most, took)
		}
		return nil
	})
	return most, err
}
