// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/actors/overlay/memnet"
)

// Each quirk shows at a phone without any. a has it.
func TestQuirks_Observable(t *testing.T) {
	large := strings.Repeat("x", maxControl+1)
	tests := map[string]struct {
		quirks Quirks
		show   func(t *testing.T, a, b *Phone)
	}{
		"no data stream": {Quirks{NoDataStream: true}, func(t *testing.T, a, b *Phone) {
			a.Write(b.Key(), large)
			hears(t, b, a, time.Minute, large)
			if n := b.Page(a.Key()).Counts[TypeMessage]; n != 1 {
				t.Errorf("%d messages on the control stream", n)
			}
		}},
		"late data stream": {Quirks{LateDataStream: 20 * time.Second}, func(t *testing.T, a, b *Phone) {
			start := time.Now()
			a.Write(b.Key(), large)
			a.Write(b.Key(), "small")
			hears(t, b, a, time.Minute, "small", large)
			if took := time.Since(start); took < 20*time.Second {
				t.Errorf("after %v", took)
			}
		}},
		"drops early data": {Quirks{DropsEarlyData: true}, func(t *testing.T, a, b *Phone) {
			l, err := DialLine(t.Context(), b.running().carrier, a.Node())
			if err != nil {
				t.Fatal(err)
			}
			// The phone may drop the line before the write has returned.
			if _, err := l.Write([]byte{RoleData}); err != nil && !errors.Is(err, overlay.ErrReset) {
				t.Fatal(err)
			}
			if err := l.Ended(time.Second); err != nil {
				t.Error(err)
			}
		}},
		"silent": {Quirks{Silent: true}, func(t *testing.T, a, b *Phone) {
			l, err := DialLine(t.Context(), b.running().carrier, a.Node())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := l.Write([]byte{9}); err != nil {
				t.Fatal(err)
			}
			if err := l.Silent(time.Minute); err != nil {
				t.Error(err)
			}
		}},
		"parallel dials": {Quirks{ParallelDials: 3}, func(t *testing.T, a, b *Phone) {
			a.Write(b.Key(), "hello")
			b.Eventually(t, time.Minute, "three handshakes", func() bool {
				page := b.Page(a.Key())
				return page.Started+page.Unanswered >= 3
			})
		}},
		"wrong size": {Quirks{WrongSize: true}, func(t *testing.T, a, b *Phone) {
			a.Write(b.Key(), "hello")
			hears(t, b, a, time.Minute, "hello")
			if size := *b.Page(a.Key()).Of(TypeInfoRequest)[0].Size; size != 16 {
				t.Errorf("size %d", size)
			}
		}},
		"unknown frames": {Quirks{UnknownFrames: true}, func(t *testing.T, a, b *Phone) {
			a.Write(b.Key(), "hello")
			hears(t, b, a, time.Minute, "hello")
			if n := b.Page(a.Key()).Counts[7777]; n < 2 {
				t.Errorf("%d unknown frames", n)
			}
		}},
		"duplicates": {Quirks{Duplicates: true}, func(t *testing.T, a, b *Phone) {
			a.Write(b.Key(), "hello")
			hears(t, b, a, time.Minute, "hello", "hello")
		}},
		"duplicate later": {Quirks{DuplicateLater: true}, func(t *testing.T, a, b *Phone) {
			a.Write(b.Key(), "hello")
			hears(t, b, a, time.Minute, "hello", "hello")
		}},
		"reaction twice": {Quirks{ReactionTwice: true}, func(t *testing.T, a, b *Phone) {
			a.React(b.Key(), "👍", 7)
			b.Eventually(t, time.Minute, "two reactions", func() bool { return len(b.Page(a.Key()).Received) == 2 })
			first, second := b.Page(a.Key()).Received[0], b.Page(a.Key()).Received[1]
			if first.GUID == second.GUID || first.SendTime/1000 != second.SendTime || !bytes.Equal(first.Payload, second.Payload) {
				t.Errorf("%+v and %+v", first, second)
			}
		}},
		"no guid": {Quirks{NoGUID: true, UnknownKeys: true}, func(t *testing.T, a, b *Phone) {
			a.Write(b.Key(), "hello")
			hears(t, b, a, time.Minute, "hello")
			if guid := b.Page(a.Key()).Received[0].GUID; guid != 0 {
				t.Errorf("guid %d", guid)
			}
		}},
		"android's JSON": {Quirks{AndroidJSON: true, UnknownKeys: true}, func(t *testing.T, a, b *Phone) {
			guid := a.Write(b.Key(), "hello")
			hears(t, b, a, time.Minute, "hello")
			if got := b.Page(a.Key()).Received[0].GUID; got != guid {
				t.Errorf("guid %d, want %d", got, guid)
			}
		}},
		"OK delayed": {Quirks{OKDelay: 20 * time.Second}, func(t *testing.T, a, b *Phone) {
			start := time.Now()
			told(t, a, b, func(GUID) []GUID { return nil }, 19*time.Second)
			b.Eventually(t, time.Minute, "b is told", func() bool { return len(b.Page(a.Key()).Told) == 1 })
			if took := time.Since(start); took < 20*time.Second {
				t.Errorf("after %v", took)
			}
		}},
		"no OK": {Quirks{NoOK: true, OKZero: true}, func(t *testing.T, a, b *Phone) {
			told(t, a, b, func(GUID) []GUID { return []GUID{0} }, time.Minute)
		}},
		"OK for 0": {Quirks{OKZero: true}, func(t *testing.T, a, b *Phone) {
			told(t, a, b, func(g GUID) []GUID { return []GUID{0, g} }, time.Minute)
		}},
		"OK for an unknown guid": {Quirks{OKUnknown: true}, func(t *testing.T, a, b *Phone) {
			told(t, a, b, func(g GUID) []GUID { return []GUID{g ^ 0x5555, g} }, time.Minute)
		}},
		"OK twice": {Quirks{OKTwice: true}, func(t *testing.T, a, b *Phone) {
			told(t, a, b, func(g GUID) []GUID { return []GUID{g, g} }, time.Minute)
		}},
		"ping at once": {Quirks{PingAtOnce: true}, func(t *testing.T, a, b *Phone) {
			dial(t, a, b)
			b.Eventually(t, time.Second, "a PING", func() bool { return b.Page(a.Key()).Counts[TypePing] == 1 })
		}},
		"no ping": {Quirks{NoPing: true}, func(t *testing.T, a, b *Phone) {
			dial(t, a, b)
			sleep(t.Context(), 5*time.Minute)
			if n := b.Page(a.Key()).Counts[TypePing]; n != 0 || b.Session(a.Key()) == nil {
				t.Errorf("%d pings, session %v", n, b.Session(a.Key()))
			}
		}},
		"no avatar": {Quirks{NoAvatar: true, UnaskedInfo: true, NoInfoRequest: true}, func(t *testing.T, a, b *Phone) {
			dial(t, a, b)
			b.Eventually(t, time.Second, "a profile", func() bool { return len(b.Page(a.Key()).Of(TypeInfoResponse)) == 2 })
			page := b.Page(a.Key())
			if len(page.Of(TypeInfoResponse)[0].Bytes("avatar")) != 0 || page.Counts[TypeInfoRequest] != 0 {
				t.Errorf("%v", page.Frames)
			}
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			a := Options{Avatar: []byte("picture"), Quirks: test.quirks}
			pair(t, memnet.Options{}, a, Options{}, func(t *testing.T, a, b *Phone) { test.show(t, a, b) })
		})
	}
}

// told has b write to a, and compares the OKs that a sends within a time.
func told(t *testing.T, a, b *Phone, want func(GUID) []GUID, within time.Duration) {
	t.Helper()
	guid := b.Write(a.Key(), "hello")
	sleep(t.Context(), within)
	if got := b.Page(a.Key()).Told; !slices.Equal(got, want(guid)) {
		t.Errorf("told %v, want %v", got, want(guid))
	}
}

func dial(t *testing.T, from, to *Phone) *Session {
	t.Helper()
	s, err := from.Dial(t.Context(), to.Key())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// What shows on the wire only: packets in the order in which they are sent.
func TestQuirksOfPackets(t *testing.T) {
	ok := Frame{Type: TypeOK}.AppendTo(nil)
	watch := func(t *testing.T, q Quirks) (syn, lastOK int, sizes []int) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			net := memnet.New(memnet.Options{})
			t.Cleanup(net.Close)
			a := InMemory(t, net, Options{Name: "a", Quirks: q})
			b := InMemory(t, net, Options{Name: "b"})
			a.Found(b.Key(), b.Node())
			var packets []memnet.Packet
			net.Watch(func(p memnet.Packet) {
				if p.From == a.Node() {
					p.Payload = bytes.Clone(p.Payload)
					packets = append(packets, p)
				}
			})
			dial(t, a, b)
			b.Eventually(t, time.Minute, "a session", func() bool { return b.Page(a.Key()).Counts[TypeInfoRequest] == 1 })
			net.Watch(nil)
			for i, p := range packets {
				const synFlag = 1
				body := p.Payload[16:]
				switch {
				case p.Payload[12] == synFlag:
					syn = i // the last is the data stream's
				case bytes.Equal(body, ok):
					lastOK = i
				}
				if len(body) > 0 && binary.BigEndian.Uint16(p.Payload[2:]) == Port {
					sizes = append(sizes, len(body))
				}
			}
		})
		return syn, lastOK, sizes
	}
	if syn, lastOK, _ := watch(t, Quirks{}); syn < lastOK {
		t.Errorf("the data stream opens before the last OK: packets %d and %d", syn, lastOK)
	}
	if syn, lastOK, _ := watch(t, Quirks{EarlyDataStream: true}); syn > lastOK {
		t.Errorf("the data stream opens after the last OK: packets %d and %d", syn, lastOK)
	}
	// A role byte, HELLO with 96 bytes, and so on.
	if _, _, sizes := watch(t, Quirks{}); !slices.Contains(sizes, headerSize+80) {
		t.Errorf("packets of %v bytes", sizes)
	}
	if _, _, sizes := watch(t, Quirks{HeaderApart: true}); !slices.Contains(sizes, headerSize) || slices.Max(sizes) != 80 {
		t.Errorf("headers apart: packets of %v bytes", sizes)
	}
	if _, _, sizes := watch(t, Quirks{ByteByByte: true}); slices.Max(sizes) != 1 {
		t.Errorf("byte by byte: packets of %v bytes", sizes)
	}
}

// All quirks that do not lose anything, at the same time.
func TestQuirks_Combine(t *testing.T) {
	q := Quirks{
		LateDataStream: time.Second, HeaderApart: true, WrongSize: true, UnknownFrames: true, Duplicates: true,
		DuplicateLater: true, ReactionTwice: true, AndroidJSON: true, UnknownKeys: true, OKDelay: time.Second,
		OKZero: true, OKUnknown: true, OKTwice: true, PingAtOnce: true, NoAvatar: true, UnaskedInfo: true,
	}
	pair(t, memnet.Options{}, Options{Quirks: q}, Options{Quirks: q}, func(t *testing.T, a, b *Phone) {
		for _, p := range [][2]*Phone{{a, b}, {b, a}} {
			for _, text := range []string{"one", strings.Repeat("2", maxControl+1), "three"} {
				p[0].Write(p[1].Key(), text)
				p[0].Eventually(t, 10*time.Minute, "an OK", func() bool { return len(p[0].Waiting(p[1].Key())) == 0 })
			}
		}
	})
}

// A line that drips ends with its context.
func TestLine_BytewiseWrites(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		net := memnet.New(memnet.Options{})
		t.Cleanup(net.Close)
		b := InMemory(t, net, Options{Name: "b", Quirks: Quirks{Silent: true}})
		carrier := net.Node(overlay.Limits{})
		t.Cleanup(func() { _ = carrier.Close() })
		l, err := DialLine(t.Context(), carrier, b.Node())
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		start := time.Now()
		if err := l.Drip(ctx, make([]byte, 100), time.Second); err == nil {
			t.Error("100 bytes, one a second, took less than 10 seconds")
		}
		if took := time.Since(start); took != 10*time.Second {
			t.Errorf("it took %v", took)
		}
	})
}
