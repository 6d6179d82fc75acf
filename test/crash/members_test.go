// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"context"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/test/crash"
	"github.com/mimird/mimird/test/demo"
)

// memberPoints are the points of a member of groups, and mediatorPoints those of the
// mediator at which its members do not know whether it has what they sent. They die at a
// passing with everything in motion.
var (
	memberPoints   = []crashpoint.Name{crashpoint.AfterDecode, crashpoint.BeforeSend, crashpoint.BeforeDelivered}
	mediatorPoints = []crashpoint.Name{crashpoint.AfterMediated, crashpoint.BeforeMediated, crashpoint.BeforeMediatedOK}
)

// Bars R01, R02, R03: in two groups on two mediators, a member is killed, then a mediator
// that is a member too, then both: at named points and at random moments, under load. What
// each member has accepted is in the store of every member, once and in the writer's order.
func TestMembersAndMediatorKilled(t *testing.T) {
	t.Parallel()
	seed := drawSeed()
	w := newMemberWorld(t, fmt.Sprintf("seed %d: ", seed))
	random := mathrand.New(mathrand.NewPCG(seed, 16)) //nolint:gosec // no secret
	member, mediator := w.nodes[0], w.nodes[2]
	end := w.load()
	w.progress(1)
	for _, name := range memberPoints {
		w.dieAndReturn(member, name)
	}
	points, dying, rounds := mediatorPoints[:1], [][]*demo.Node{{member, mediator}}, 1
	if long() {
		points, dying, rounds = mediatorPoints, [][]*demo.Node{{member}, {mediator}, {member, mediator}}, *killsFlag
	}
	for _, name := range points {
		w.dieAndReturn(mediator, name)
	}
	for _, nodes := range dying {
		for range rounds {
			w.run(soonest + time.Duration(random.Int64N(int64(latest-soonest))))
			w.killAndReturn(nodes...)
			if random.IntN(2) == 0 {
				w.progress(1 + random.IntN(window))
			}
		}
	}
	w.progress(1)
	end()
	w.check()
}

// dieAndReturn starts a node again that dies at a point, and once more.
func (w *memberWorld) dieAndReturn(n *demo.Node, name crashpoint.Name) {
	w.t.Helper()
	w.must(n.Kill())
	w.relaunch(n, fmt.Sprintf("%s=%s:%d", crashpoint.Env, name, later))
	w.diedAt(n, name, later)
	w.relaunch(n)
	w.progress(2)
}

// killAndReturn kills nodes and starts them again.
func (w *memberWorld) killAndReturn(nodes ...*demo.Node) {
	w.t.Helper()
	for _, n := range nodes {
		w.must(n.Kill())
		w.kills++
	}
	for _, n := range nodes {
		w.relaunch(n)
	}
}

// relaunch starts a node that has died, in another second than that in which it died:
// Yggdrasil tells sessions with the same node apart by the seconds in which they began, and
// ignores a second one of the same second until a minute has passed without any packet.
func (w *memberWorld) relaunch(n *demo.Node, env ...string) {
	w.t.Helper()
	died := time.Now().Unix()
	poll(nil, func() bool { return time.Now().Unix() > died })
	w.must(n.Launch(env...))
}

// memberWorld is three nodes that are in the same two groups, each group on a mediator of
// its own: the second and the third node.
type memberWorld struct {
	*world
	nodes  []*demo.Node
	groups []string

	mu sync.Mutex
	// accepted are the texts of each node in each group, in order.
	accepted map[memberOf][]string
}

// memberOf is a node in a group.
type memberOf struct{ node, group int }

func newMemberWorld(t *testing.T, note string) *memberWorld {
	t.Helper()
	dir, err := os.MkdirTemp("", "crash-") //nolint:usetesting // the paths of sockets must be short
	if err != nil {
		t.Fatal(err)
	}
	w := &memberWorld{world: &world{t: t, dir: dir, note: note}, accepted: make(map[memberOf][]string)}
	t.Cleanup(func() {
		w.showLogs()
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	w.relay = "tcp://" + w.freeAddress()
	for i, name := range []string{"alice", "bob", "carol"} {
		roles, link := "node, mediator", fmt.Sprintf("peers: [%q]", w.relay)
		switch i {
		case 0:
			roles = "node"
		case 1:
			link = fmt.Sprintf("listen: [%q], peers: [%q]", w.relay, w.relay) // the mediator has a network of its own
		}
		n, err := demo.NewNode(program, dir, name, fmt.Sprintf("roles: [%s]\nlog: {level: debug}\nyggdrasil: {%s}\n", roles, link))
		w.must(err)
		t.Cleanup(func() { w.must(n.Stop()) })
		w.nodes = append(w.nodes, n)
	}
	w.victim, w.other, w.third = w.nodes[0], w.nodes[1], w.nodes[2]
	var mediators []string
	for _, n := range w.nodes[1:] {
		w.must(n.Start(w.soon()))
		status, err := n.Client.Status(w.soon())
		w.must(err)
		if status.MediatorRole == nil {
			t.Fatalf("%s is not a mediator", n.Name)
		}
		mediators = append(mediators, status.MediatorRole.Key)
		w.must(n.Stop())
	}
	for _, n := range w.nodes {
		document, err := os.OpenFile(n.ConfigPath(), os.O_APPEND|os.O_WRONLY, 0o600)
		w.must(err)
		_, err = fmt.Fprintf(document, "groups: {mediators: [%s]}\n", strings.Join(mediators, ", "))
		w.must(errors.Join(err, document.Close()))
		w.must(n.Start(w.soon()))
	}
	w.makeGroups(mediators)
	return w
}

// makeGroups has the second and the third node create a group each, on their own mediators,
// and invite the others.
func (w *memberWorld) makeGroups(mediators []string) {
	w.t.Helper()
	creations := make([]control.Group, len(mediators))
	for i, mediator := range mediators {
		var err error
		creations[i], err = w.nodes[i+1].Client.CreateGroup(w.soon(), "-", control.NewGroup{Name: fmt.Sprint("group ", i), Mediator: mediator})
		w.must(err)
	}
	for i, creation := range creations {
		owner := w.nodes[i+1]
		w.groups = append(w.groups, w.becomes(owner, creation.ID))
		for _, n := range w.nodes {
			if n == owner {
				continue
			}
			_, err := owner.Client.InviteToGroup(w.soon(), "-", w.groups[i], n.Account.ID, patience)
			w.must(err)
			w.inState(n, w.groups[i], "invited")
			_, err = n.Client.AcceptInvite(w.soon(), "-", w.groups[i])
			w.must(err)
			w.inState(n, w.groups[i], "member")
		}
	}
}

// becomes returns the group that a creation becomes.
func (w *memberWorld) becomes(n *demo.Node, creation string) string {
	w.t.Helper()
	var g control.Group
	var err error
	if !poll(n.Process().Ended(), func() bool {
		g, err = n.Client.Group(w.t.Context(), "-", creation)
		return err == nil && g.Became != ""
	}) {
		w.t.Fatalf("%s%s: the group is not created: %+v (%v)", w.note, n.Name, g, err)
	}
	w.inState(n, g.Became, "member")
	return g.Became
}

func (w *memberWorld) inState(n *demo.Node, group, state string) {
	w.t.Helper()
	var g control.Group
	var err error
	if !poll(n.Process().Ended(), func() bool {
		g, err = n.Client.Group(w.t.Context(), "-", group)
		return err == nil && g.State == state
	}) {
		w.t.Fatalf("%s%s: the group is %+v, want %s (%v)", w.note, n.Name, g, state, err)
	}
}

// load has everybody write in both groups until end is called, which returns when
// everything that was begun is accepted.
func (w *memberWorld) load() (end func()) {
	ctx, stop := context.WithCancel(w.t.Context())
	var writers sync.WaitGroup
	for node := range w.nodes {
		for group := range w.groups {
			writers.Go(func() {
				if err := w.write(ctx, memberOf{node, group}); err != nil {
					w.t.Errorf("%s%s: %v", w.note, w.nodes[node].Name, err)
				}
			})
		}
	}
	end = sync.OnceFunc(func() {
		stop()
		writers.Wait()
	})
	w.t.Cleanup(end)
	return end
}

// writeEvery is how often a node writes in a group: each text is stored three times over.
const writeEvery = 5 * loadEvery

// write writes until ctx ends, with at most window texts that the mediator does not have.
func (w *memberWorld) write(ctx context.Context, m memberOf) error {
	client, group := w.nodes[m.node].Client, w.groups[m.group]
	tick := time.NewTicker(writeEvery)
	defer tick.Stop()
	for i := 0; ; i++ {
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return nil
			}
			if g, err := client.Group(ctx, "-", group); err == nil && g.Undelivered < window {
				break
			}
		}
		// The node may die before it answers. The same source is the same text, so it is
		// written until it is accepted, also when ctx has ended.
		text := w.text(m, i)
		var err error
		if !poll(nil, func() bool {
			_, err = client.Send(context.WithoutCancel(ctx), "-", group, control.Text{Text: text, Source: text})
			return err == nil
		}) {
			return fmt.Errorf("write %q: %w", text, err)
		}
		w.mu.Lock()
		w.accepted[m] = append(w.accepted[m], text)
		w.mu.Unlock()
	}
}

func (w *memberWorld) text(m memberOf, i int) string {
	return fmt.Sprintf("%s in %d: %d", w.nodes[m.node].Name, m.group, i)
}

func (w *memberWorld) acceptedOf(m memberOf) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.accepted[m])
}

// progress returns when more texts of each member have reached each other one.
func (w *memberWorld) progress(more int) {
	w.t.Helper()
	want := make(map[memberOf]string)
	for node := range w.nodes {
		for group := range w.groups {
			m := memberOf{node, group}
			want[m] = w.text(m, len(w.acceptedOf(m))+more-1)
		}
	}
	for reader := range w.nodes {
		for m, text := range want {
			if m.node == reader {
				continue
			}
			if !poll(nil, func() bool { return w.has(reader, m, text) }) {
				w.t.Fatalf("%s%s does not get %q: %s", w.note, w.nodes[reader].Name, text, w.groupsOf(reader))
			}
		}
	}
}

// has reports whether a text, or one that its writer has written later, is among the last
// ones of a group at a node.
func (w *memberWorld) has(reader int, m memberOf, text string) bool {
	page, err := w.nodes[reader].Client.Messages(w.t.Context(), "-", w.groups[m.group], 0, 30)
	if err != nil {
		return false
	}
	i := slices.IndexFunc(page, func(other control.Message) bool {
		return strings.HasPrefix(other.Text, w.nodes[m.node].Name+" ")
	})
	return i >= 0 && number(page[i].Text) >= number(text)
}

// number is the number at the end of a text.
func number(text string) (n int) {
	_, _ = fmt.Sscan(text[strings.LastIndexByte(text, ' ')+1:], &n)
	return n
}

// groupsOf is what a node says of its groups.
func (w *memberWorld) groupsOf(node int) string {
	groups, err := w.nodes[node].Client.Groups(w.t.Context(), "-")
	return fmt.Sprintf("%+v (%v)", groups, err)
}

// stored are the messages of a group at a node, oldest first.
func (w *memberWorld) stored(node int, group string) ([]control.Message, error) {
	var all []control.Message
	for before := uint64(0); ; {
		page, err := w.nodes[node].Client.Messages(w.t.Context(), "-", group, before, 500)
		if err != nil || len(page) == 0 {
			slices.Reverse(all)
			return all, err
		}
		all = append(all, page...)
		before = page[len(page)-1].Order
	}
}

// check waits until everything has reached everybody, compares the stores with what was
// accepted, and has the program check each store.
func (w *memberWorld) check() {
	w.t.Helper()
	total := 0
	for m := range w.accepted {
		if len(w.acceptedOf(m)) < 2*later {
			w.t.Errorf("%sonly %d texts of %s", w.note, len(w.acceptedOf(m)), w.nodes[m.node].Name)
		}
		total += len(w.acceptedOf(m))
	}
	var all crash.Difference
	for node, n := range w.nodes {
		for group, id := range w.groups {
			want := 0
			for writer := range w.nodes {
				want += len(w.acceptedOf(memberOf{writer, group}))
			}
			var messages []control.Message
			complete := func() bool {
				g, err := n.Client.Group(w.t.Context(), "-", id)
				if err != nil || g.Undelivered > 0 || g.Stage != "live" {
					return false
				}
				messages, err = w.stored(node, id)
				texts := 0
				for _, message := range messages {
					if message.TypeName == "text" {
						texts++
					}
				}
				return err == nil && texts >= want
			}
			if !poll(n.Process().Ended(), complete) {
				w.t.Errorf("%s%s has %d messages, want %d texts: %s", w.note, n.Name, len(messages), want, w.groupsOf(node))
			}
			for writer := range w.nodes {
				all.Add(w.compare(messages, node, memberOf{writer, group}))
			}
		}
	}
	count(inGroups, w.kills, all)
	line := fmt.Sprintf("%sin two groups of three: kills %d %s", w.note, w.kills, all)
	if !all.OK() || all.Accepted != total*len(w.nodes) {
		w.t.Error(line)
	} else {
		w.t.Log(line)
	}
	for _, n := range w.nodes {
		w.must(n.Stop())
		if out, err := exec.CommandContext(w.soon(), program, "check", "--data", n.Dir).CombinedOutput(); err != nil {
			w.t.Errorf("%s%s: check: %v: %s", w.note, n.Name, err, out)
		}
	}
}

// compare compares what a writer has accepted with what a node has of it.
func (w *memberWorld) compare(messages []control.Message, node int, writer memberOf) crash.Difference {
	w.t.Helper()
	direction, state := "in", "received"
	if writer.node == node {
		direction, state = "out", "delivered"
	}
	var arrived []string
	for _, m := range messages {
		if m.TypeName != "text" || !strings.HasPrefix(m.Text, w.nodes[writer.node].Name+" ") {
			continue
		}
		if m.Direction != direction || m.State != state || direction == "in" && m.Author != w.nodes[writer.node].Account.ID {
			w.t.Errorf("%s%s has %q as %s, %s, of %s", w.note, w.nodes[node].Name, m.Text, m.Direction, m.State, m.Author)
		}
		arrived = append(arrived, m.Text)
	}
	return crash.Compare(w.acceptedOf(writer), arrived)
}
