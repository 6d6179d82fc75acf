// SPDX-License-Identifier: MPL-2.0

package scenario_test

import (
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
)

var (
	all  = flag.Bool("all", false, "run the whole matrix")
	seed = flag.Uint64("seed", uint64(time.Now().UnixNano()), "of the moments at which links are cut")
)

// flapTime is how long links flap while messages are written.
func flapTime() time.Duration {
	if *all {
		return 30 * time.Second
	}
	return 12 * time.Second
}

// roundsPerChange is how many rounds of messages are written between two changes of
// links.
const roundsPerChange = 4

// Everybody writes to everybody, over real Yggdrasil cores.
//
// Bar R09: nothing is lost and nothing doubled when links flap.
func TestScenarioEverybodyTalksToEverybody(t *testing.T) {
	for _, size := range []int{2, 5, 10, 20} {
		for _, s := range shapes {
			for _, flapping := range []bool{false, true} {
				name := fmt.Sprintf("%-6s %2d nodes, %-5s, %s", overlay.KindStream, size, s.name, map[bool]string{false: "stable", true: "flapping"}[flapping])
				if size == 2 && s.name != "chain" || !*all && !slices.Contains(few, name) {
					continue
				}
				t.Run(name, func(t *testing.T) { everybodyTalks(t, name, s.links(size), size, flapping) })
			}
		}
	}
}

// few are those that run with all other tests, where minutes are dear.
var few = []string{"stream  2 nodes, chain, flapping", "stream  5 nodes, star , stable"}

func everybodyTalks(t *testing.T, name string, links [][2]int, size int, flap bool, change ...func(i int, o *node.Options)) {
	w := newWorld(t, size, links, change...)
	each := max(2, 40/size)
	var flaps *flapping
	if flap {
		flaps = w.flap(flapTime())
	}
	begin := time.Now()
	for i := range each {
		for _, a := range w.nodes {
			for _, b := range w.nodes {
				if a != b {
					w.say(a, b, i)
				}
			}
		}
		if flap && i%roundsPerChange == 0 {
			flaps.awaitChange()
		}
	}
	if flap {
		<-flaps.ended
	}
	w.report(name, each, begin)
}

func (w *world) say(a, b *member, i int) {
	w.t.Helper()
	_, err := a.Send(w.t.Context(), node.Outgoing{Account: a.account.ID, Contact: b.account.ID, Payload: fmt.Append(nil, i)})
	if err != nil {
		w.t.Fatal(err)
	}
}

// report waits until everything has arrived, and then counts what should not be.
func (w *world) report(name string, each int, begin time.Time) {
	w.t.Helper()
	lost, doubled, reordered := 0, 0, 0
	for _, a := range w.nodes {
		for _, b := range w.nodes {
			if a == b {
				continue
			}
			w.await(a, b, each)
			seen := make(map[string]int)
			for i, text := range w.heard(a, b) {
				if seen[text]++; text != fmt.Sprint(i) {
					reordered++
				}
			}
			for i := range each {
				n := seen[fmt.Sprint(i)]
				if n == 0 {
					lost++
				}
				doubled += max(n-1, 0)
			}
		}
	}
	fmt.Printf("scenario %-33s %5d messages in %6v, %3d cuts: lost %d doubled %d reordered %d\n",
		name, each*len(w.nodes)*(len(w.nodes)-1), time.Since(begin).Round(100*time.Millisecond), w.cuts(), lost, doubled, reordered)
	if lost+doubled+reordered > 0 {
		w.t.Errorf("seed %d", *seed)
	}
	// One session for each contact, whatever happened.
	for _, n := range w.nodes {
		s, err := n.Status(w.t.Context())
		if err != nil {
			w.t.Fatal(err)
		}
		if s.Sessions > len(w.nodes)-1 {
			w.t.Errorf("a node has %d sessions with %d contacts", s.Sessions, len(w.nodes)-1)
		}
	}
}

// await waits until a has heard n messages of b, or the patience of the whole world
// is over.
func (w *world) await(a, b *member, n int) {
	watch := a.WatchEvents()
	defer watch.Close()
	limit := time.NewTimer(time.Until(w.deadline))
	defer limit.Stop()
	for len(w.heard(a, b)) < n {
		select {
		case <-watch.C():
		case <-limit.C:
			return
		}
	}
}
