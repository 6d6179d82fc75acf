// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/actors/trackerserver"
	"github.com/mimird/mimird/actors/uplink"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
)

// syncTracker is a tracker that is not started yet: its partners have to know its key.
type syncTracker struct {
	node    *node.Node
	options *trackerserver.Options
	key     identity.NodeKey
}

func newSyncTracker(t *testing.T, w *actorstest.World) *syncTracker {
	t.Helper()
	s := &syncTracker{options: &trackerserver.Options{MaxIdentities: 100, OpenNetwork: func(key identity.NodePrivateKey) (uplink.Network, error) {
		net, err := w.Open(key)
		if err != nil {
			return nil, err
		}
		return net, net.(interface{ Enable(overlay.Kind) error }).Enable(overlay.KindQUIC)
	}}}
	var err error
	s.node, err = node.Open(node.Options{
		Dir: filepath.Join(t.TempDir(), "tracker"), Tracker: s.options, Logger: actorstest.Logger(t, "tracker"),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(s.node.Stop(context.Background()), s.node.Close()); err != nil {
			t.Error(err)
		}
	})
	s.key, _ = s.node.TrackerKey()
	return s
}

func (s *syncTracker) start(t *testing.T, with ...trackerserver.Partner) {
	t.Helper()
	s.options.SyncWith = with
	if err := s.node.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// asker asks trackers of today.
type asker struct {
	t    *testing.T
	port overlay.Datagrams
}

// ask repeats a question until there is an answer.
func (a asker) ask(at identity.NodeKey, q tracker.Request, nonce tracker.Nonce) tracker.Reply {
	a.t.Helper()
	for end := time.Now().Add(generationPatience); time.Now().Before(end); {
		if err := a.port.Send(at, tracker.Port, q.AppendTo(nil)); err != nil {
			a.t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(a.t.Context(), time.Second)
		from, payload, err := a.port.Receive(ctx)
		cancel()
		if err != nil {
			continue
		}
		if reply, ok := tracker.SplitReply(payload); ok && from == at && reply.Nonce == nonce {
			return reply
		}
	}
	a.t.Fatalf("no answer of %s", at.Short())
	return tracker.Reply{}
}

// find looks an identity up until there is something.
func (a asker) find(at identity.NodeKey, id identity.PublicKey) tracker.Record {
	a.t.Helper()
	for nonce := tracker.Nonce(1000); nonce < 100_000; nonce++ {
		reply, err := a.ask(at, tracker.Lookup{Nonce: nonce, Identity: id}, nonce).Lookup(id)
		if err != nil {
			a.t.Fatal(err)
		}
		if len(reply.Records) > 0 {
			return reply.Records[0]
		}
	}
	a.t.Fatalf("%s does not know it", at.Short())
	return tracker.Record{}
}

// What is announced at one tracker is found at its partner, and at the partner's
// partner of another generation; nobody else passes anything on.
func TestTrackersShareWhatIsAnnounced(t *testing.T) {
	w := actorstest.New(t, memnet.Options{})
	device := w.Net.Node(overlay.Limits{StrangerPackets: 10_000})
	t.Cleanup(func() { _ = device.Close() })
	port, err := device.ListenDatagrams(tracker.Port)
	if err != nil {
		t.Fatal(err)
	}
	who, ask := identity.NewPrivateKey([32]byte{1}), asker{t, port}
	a, b, c := newSyncTracker(t, w), newSyncTracker(t, w), newSyncTracker(t, w)
	for _, s := range []struct {
		*syncTracker
		with []trackerserver.Partner
	}{
		{a, []trackerserver.Partner{{Node: b.key}}},
		{b, []trackerserver.Partner{{Node: a.key}, {Node: c.key, V1: true}, {Node: device.Key()}}},
		{c, []trackerserver.Partner{{Node: b.key, V1: true}}},
	} {
		s.start(t, s.with...)
		ask.ask(s.key, tracker.Ping{Nonce: 5}, 5) // it is up before the next one calls
	}

	partner, err := device.Dial(t.Context(), b.key, tracker.Port)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = partner.Close() }()
	own, src := device.Key(), bufio.NewReader(partner)
	if _, err := partner.Write(own[:]); err != nil {
		t.Fatal(err)
	}
	if err := partner.SetDeadline(time.Now().Add(generationPatience)); err != nil {
		t.Fatal(err)
	}

	record := tracker.NewRecord(who, device.Key(), 7, 9)
	announced, err := ask.ask(a.key, tracker.Announce{Nonce: 1, Identity: who.Public(), Record: record}, 1).Announce()
	if err != nil || announced.TTL() != 4*time.Minute {
		t.Fatalf("announced for %v, error %v", announced.TTL(), err)
	}
	for name, s := range map[string]*syncTracker{"partner": b, "partner of gen2": c} {
		got := ask.find(s.key, who.Public())
		if got.Node != device.Key() || got.Priority != 7 || got.ClientID != 9 || got.Life() > 5*time.Minute || got.Life() < 4*time.Minute {
			t.Errorf("%s: %+v", name, got)
		}
	}
	// The partner by hand is passed it on as well, one hop less far.
	for {
		frame, err := tracker.ReadSync(src)
		if err != nil {
			t.Fatal(err)
		}
		if f, ok := frame.(tracker.SyncRecord); ok {
			if f.Identity != who.Public() || f.Hop != tracker.FirstHop-1 || f.PrevTTLMinutes != 4 || f.Life() > 5*time.Minute {
				t.Errorf("passed on: %+v", f)
			}
			break
		}
	}

	// A partner that passes on a forgery is heard no longer; what is out of all
	// measure is cut.
	other := identity.NewPrivateKey([32]byte{2})
	f := tracker.SyncRecord{Hop: 1, Identity: other.Public(), Record: tracker.NewRecord(other, device.Key(), 1, 1), TTLSeconds: 1 << 60, PrevTTLMinutes: 1 << 31}
	forged := f
	forged.Identity = identity.NewPrivateKey([32]byte{3}).Public()
	if _, err := partner.Write(forged.AppendTo(f.AppendTo(nil))); err != nil {
		t.Fatal(err)
	}
	if got := ask.find(b.key, other.Public()); got.Life() > 17*time.Minute {
		t.Errorf("it lives for %v", got.Life())
	}
	for err = nil; err == nil; {
		_, err = tracker.ReadSync(src)
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the partner is still heard")
	}
	nonce := tracker.Nonce(7)
	if reply, err := ask.ask(b.key, tracker.Lookup{Nonce: nonce, Identity: forged.Identity}, nonce).Lookup(forged.Identity); err != nil || len(reply.Records) != 0 {
		t.Errorf("the forgery: %+v, error %v", reply.Records, err)
	}
	// A node that is not a partner is ignored.
	stranger, err := device.Dial(t.Context(), a.key, tracker.Port)
	if errors.Is(err, overlay.ErrReset) {
		return // before the dial was done
	}
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stranger.Close() }()
	if _, err := io.ReadAll(stranger); err == nil {
		t.Error("a stranger's stream ends in order")
	}
}
