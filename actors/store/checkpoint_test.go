// SPDX-License-Identifier: MPL-2.0

package store_test

import (
	"errors"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/mimird/mimird/actors/store"
)

// Bar R21
func TestCheckpointHasEverythingAcknowledgedBeforeIt(t *testing.T) {
	dir := t.TempDir()
	r := newPeopledRig(t, store.Options{Dir: filepath.Join(dir, "store")})
	const before = 50
	for guid := range int64(before) {
		must[store.Accepted](r, accept(guid+1, guidText(guid+1)))
	}
	// Writers go on meanwhile.
	var writers sync.WaitGroup
	stop := make(chan struct{})
	writers.Go(func() {
		for guid := int64(before) + 1; ; guid++ {
			select {
			case <-stop:
				return
			default:
				must[store.Accepted](r, accept(guid, guidText(guid)))
			}
		}
	})
	copied := filepath.Join(dir, "copy")
	err := r.store.Checkpoint(copied)
	close(stop)
	writers.Wait()
	if err != nil {
		t.Fatal(err)
	}
	all := r.texts(alice, bob)

	c := newRig(t, store.Options{Dir: copied})
	texts := c.texts(alice, bob)
	if len(texts) < before || !slices.Equal(texts, all[:len(texts)]) {
		t.Errorf("the copy has %d messages of %d, and they are not the first ones", len(texts), len(all))
	}
	c.checked()
	// Both go on by themselves.
	must[store.Accepted](c, accept(1<<40, "in the copy"))
	must[store.Accepted](r, accept(1<<41, "in the original"))
	c.restart()
	r.restart()
	if got := c.texts(alice, bob); got[len(got)-1] != "in the copy" || slices.Contains(got, "in the original") {
		t.Error("the copy is not a store of its own")
	}
	if got := r.texts(alice, bob); got[len(got)-1] != "in the original" || slices.Contains(got, "in the copy") {
		t.Error("the original has changed")
	}
}

func TestCheckpointRefusesWhatIsThereAndAClosedStore(t *testing.T) {
	r := newPeopledRig(t, store.Options{Dir: filepath.Join(t.TempDir(), "store")})
	copied := filepath.Join(t.TempDir(), "copy")
	if err := r.store.Checkpoint(copied); err != nil {
		t.Fatal(err)
	}
	if err := r.store.Checkpoint(copied); err == nil {
		t.Error("a second checkpoint went over the first")
	}
	must[store.Accepted](r, accept(1, "goes on"))
	closed := r.store
	r.stop()
	if err := closed.Checkpoint(copied + "2"); !errors.Is(err, store.ErrClosed) {
		t.Errorf("of a closed store: %v", err)
	}
}
