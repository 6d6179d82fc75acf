// SPDX-License-Identifier: MPL-2.0

package budget_test

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/poll"
)

const (
	// villageAccounts have villageContacts each.
	villageAccounts = 1000
	villageContacts = 10
	// maxAccountHeap is what an idle account with its contacts may take, in bytes.
	maxAccountHeap = 150 * kib
	// maxVillageIdle is the part of one core that they may use together.
	maxVillageIdle = 0.05
)

// TestVillage measures a node with a thousand accounts that nobody talks to.
func TestVillage(t *testing.T) {
	if !*all {
		return // accounts and contacts without sessions are counted in actors; the figures are for an idle machine
	}
	r := newRig(t, 0, func(o *node.Options) { o.OpenStore = openSmall })
	before := measure(t)
	next := make(chan int)
	errs := make([]error, 16)
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			for i := range next {
				account, err := r.node.CreateAccount(t.Context(), fmt.Sprint("account ", i))
				for c := 0; c < villageContacts && err == nil; c++ {
					_, err = r.node.AddContact(t.Context(), account.ID, identity.Link{Key: identity.PublicKey(caller(i*villageContacts + c).Key())})
				}
				errs[w] = errors.Join(errs[w], err)
			}
		})
	}
	for i := range villageAccounts {
		next <- i
	}
	close(next)
	workers.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	var after usage
	var heap int64
	for range 100 { // the store frees what it has used for its last writes after a moment
		after = measure(t)
		heap = (after.heap - before.heap) / villageAccounts
		if heap <= maxAccountHeap || !poll.Pass(t.Context(), 100*time.Millisecond) {
			break
		}
	}
	const watch = 30 * time.Second
	begun := processorTime(t)
	poll.Pass(t.Context(), watch)
	used := (processorTime(t) - begun).Seconds() / watch.Seconds()
	show("%6d idle accounts of %d contacts: %5.1f KiB of heap and %.2f goroutines each, %.2f %% of one core; the process has %d MiB, %d before",
		villageAccounts, villageContacts, float64(heap)/kib, float64(after.goroutines-before.goroutines)/villageAccounts, 100*used, after.rss/mib, before.rss/mib)
	if heap > maxAccountHeap {
		t.Errorf("%d accounts: %d bytes each", villageAccounts, heap)
	}
	if used > maxVillageIdle {
		t.Errorf("%.2f %% of one core for nothing", 100*used)
	}
}
