// SPDX-License-Identifier: MPL-2.0

package tracker_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

// Bar S12
func TestTTLsAreClamped(t *testing.T) {
	for seconds, want := range map[uint64]time.Duration{
		0: time.Minute, 59: time.Minute, 60: time.Minute, 61: 61 * time.Second, 960: 960 * time.Second,
		3599: 3599 * time.Second, 3600: time.Hour, 3601: time.Hour, 1 << 63: time.Hour, math.MaxUint64: time.Hour,
	} {
		if got := tracker.ClampTTL(seconds); got != want {
			t.Errorf("%d s: %v", seconds, got)
		}
		if got := (tracker.AnnounceReply{TTLSeconds: seconds}).TTL(); got != want {
			t.Errorf("announce reply, %d s: %v", seconds, got)
		}
		if seconds < math.MaxUint64/1000 {
			if got := (tracker.Record{ExpiresMS: seconds * 1000}).Life(); got != want {
				t.Errorf("record, %d s: %v", seconds, got)
			}
		}
	}
	if got := (tracker.Record{ExpiresMS: math.MaxUint64}).Life(); got != time.Hour {
		t.Errorf("record for ever: %v", got)
	}
	if got := (tracker.Record{ExpiresMS: 60001}).Life(); got != 60001*time.Millisecond {
		t.Errorf("record: %v", got)
	}
	huge := tracker.SyncRecord{TTLSeconds: math.MaxUint64, PrevTTLMinutes: math.MaxUint32}
	if huge.Life() != 17*time.Minute || huge.PreviousTTL() != 16*time.Minute {
		t.Errorf("sync: %v, %v", huge.Life(), huge.PreviousTTL())
	}
	if dead := (tracker.SyncRecord{}); dead.Life() != 0 {
		t.Errorf("a dead record lives %v", dead.Life())
	}
	for previous, want := range map[time.Duration]time.Duration{
		-time.Hour: 4 * time.Minute, 0: 4 * time.Minute, 4 * time.Minute: 8 * time.Minute, 16 * time.Minute: 16 * time.Minute, math.MaxInt64: 16 * time.Minute,
	} {
		if got := tracker.NextTTL(previous); got != want {
			t.Errorf("after %v: %v", previous, got)
		}
	}
}

func TestAddresses(t *testing.T) {
	digits := node(5).String()
	want := tracker.Address{Node: node(5), Port: 69}
	for _, text := range []string{digits + ":69", strings.ToUpper(digits) + ":69", digits + ":0069"} {
		if got, err := tracker.ParseAddress(text); got != want || err != nil {
			t.Errorf("%s: %+v, error %v", text, got, err)
		}
	}
	if want.String() != digits+":69" {
		t.Errorf("written as %s", want)
	}
	for _, text := range []string{"", ":", digits, digits + ":", ":69", digits + ":0", digits + ":65536", digits + ":-1", digits + ":a", digits[1:] + ":69", digits + ":69:69"} {
		if got, err := tracker.ParseAddress(text); err == nil {
			t.Errorf("%s: %+v", text, got)
		}
	}
}

func TestCommandsHaveNames(t *testing.T) {
	for command, want := range map[tracker.Command]string{0: "ANNOUNCE", 1: "GET_ADDRS", 2: "PING", 10: "SYNC_DATA", 20: "SYNC_PING", 3: "UNKNOWN", 255: "UNKNOWN"} {
		if command.String() != want {
			t.Errorf("%d is called %s", command, command)
		}
	}
	for command, message := range map[tracker.Command]interface{ Command() tracker.Command }{
		tracker.CommandAnnounce: tracker.Announce{}, tracker.CommandLookup: tracker.Lookup{}, tracker.CommandPing: tracker.Ping{},
		tracker.CommandSyncData: tracker.SyncRecord{}, tracker.CommandSyncPing: tracker.SyncPing{},
	} {
		if message.Command() != command {
			t.Errorf("%T has command %d", message, message.Command())
		}
	}
}

func TestDrawNonce(t *testing.T) {
	if n, err := tracker.DrawNonce(bytes.NewReader([]byte{0xde, 0xad, 0xbe, 0xef})); n != 0xdeadbeef || err != nil {
		t.Errorf("%x, error %v", n, err)
	}
	if _, err := tracker.DrawNonce(bytes.NewReader(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
}

func announce() tracker.Announce {
	return tracker.Announce{Nonce: 1, Identity: owner().Public(), Record: tracker.NewRecord(owner(), node(1), 1, 2)}
}

func TestParseRequestRefusesMalformedOnes(t *testing.T) {
	good := announce().AppendTo(nil)
	lookup := tracker.Lookup{Nonce: 1, Identity: owner().Public()}.AppendTo(nil)
	without := func(tag byte) []byte {
		fields, err := wire.ParseFields(good[6:])
		if err != nil {
			t.Fatal(err)
		}
		b := bytes.Clone(good[:6])
		for have, value := range fields.All() {
			if have != tag {
				b = wire.AppendField(b, have, value)
			}
		}
		return b
	}
	for name, test := range map[string]struct {
		datagram []byte
		code     string
	}{
		"nothing":                {nil, wire.CodeTruncated},
		"version only":           {good[:1], wire.CodeTruncated},
		"five bytes":             {good[:5], wire.CodeTruncated},
		"version 0":              {append([]byte{0}, good[1:]...), wire.CodeVersion},
		"version 1":              {append([]byte{1}, good[1:]...), wire.CodeVersion},
		"version 3":              {append([]byte{3}, good[1:]...), wire.CodeVersion},
		"short and of version 1": {[]byte{1, 2, 3}, wire.CodeVersion},
		"unknown command":        {append(bytes.Clone(good[:5]), 3), wire.CodeCommand},
		"sync in a datagram":     {append(append(bytes.Clone(good[:5]), 0x0a), good[6:]...), wire.CodeCommand},
		"a field cut off":        {good[:len(good)-1], wire.CodeTruncated},
		"a varint too long":      {append(bytes.Clone(good), 0xee, 0x80, 0x80, 0x80, 0x80, 0), wire.CodeVarint},
		"no identity":            {without(1), wire.CodeMissing},
		"no node":                {without(2), wire.CodeMissing},
		"no signature":           {without(3), wire.CodeMissing},
		"no priority":            {without(5), wire.CodeMissing},
		"no client id":           {without(6), wire.CodeMissing},
		"a key of 31 bytes":      {wire.AppendField(bytes.Clone(lookup[:6]), 1, make([]byte, 31)), wire.CodeLength},
		"a key of 33 bytes":      {wire.AppendField(bytes.Clone(lookup[:6]), 1, make([]byte, 33)), wire.CodeLength},
		"a lookup of nobody":     {lookup[:6], wire.CodeMissing},
		"size at the limit":      {padded(lookup, wire.MaxTrackerDatagram), ""},
		"size above the limit":   {padded(lookup, wire.MaxTrackerDatagram+1), wire.CodeLength},
	} {
		t.Run(name, func(t *testing.T) {
			q, err := tracker.ParseRequest(test.datagram)
			if wire.ViolationCode(err) != test.code || (err == nil) != (test.code == "") {
				t.Errorf("%+v, error %v", q, err)
			}
			wiretest.CheckAllocation(t, len(test.datagram), func() { _, _ = tracker.ParseRequest(test.datagram) })
		})
	}
}

// padded fills a datagram up to size with a field that nobody knows.
func padded(b []byte, size int) []byte {
	return wire.AppendField(bytes.Clone(b), 0xee, make([]byte, size-len(b)-1-3))
}

func TestParseRequestTakesFieldsInAnyOrder(t *testing.T) {
	want := announce()
	b := want.AppendTo(nil)[:6]
	b = wire.AppendFieldUint8(b, 0xee, 9)
	b = wire.AppendFieldUint32(b, 6, 77) // replaced below
	b = wire.AppendFieldUint8(b, 5, want.Record.Priority)
	b = wire.AppendField(b, 3, want.Record.Signature[:])
	b = wire.AppendField(b, 2, want.Record.Node[:])
	b = wire.AppendField(b, 1, want.Identity[:])
	b = wire.AppendFieldUint32(b, 6, want.Record.ClientID)
	if got, err := tracker.ParseRequest(b); got != want || err != nil {
		t.Errorf("%+v, error %v", got, err)
	}
	// What follows a PING is not looked at.
	if got, err := tracker.ParseRequest(append(tracker.Ping{Nonce: 9}.AppendTo(nil), 0xff, 0xff)); got != (tracker.Ping{Nonce: 9}) || err != nil {
		t.Errorf("%+v, error %v", got, err)
	}
}

// Bar S12
func TestSplitReply_NotAnAnswer_Dropped(t *testing.T) {
	for n := range 5 {
		if _, ok := tracker.SplitReply(make([]byte, n)); ok {
			t.Errorf("%d bytes", n)
		}
	}
	if _, ok := tracker.SplitReply(make([]byte, wire.MaxTrackerDatagram)); !ok {
		t.Error("an answer at the limit")
	}
	junk := make([]byte, wire.MaxTrackerDatagram+1)
	if _, ok := tracker.SplitReply(junk); ok {
		t.Error("an answer above the limit")
	}
	got := mustSplit(t, []byte{0xde, 0xad, 0xbe, 0xef, 1, 0xff})
	if got.Nonce != 0xdeadbeef || got.Command != tracker.CommandLookup {
		t.Errorf("%+v", got)
	}
	if allocs := testing.AllocsPerRun(100, func() { tracker.SplitReply(junk[:100]) }); allocs != 0 {
		t.Errorf("%v allocations to drop an answer", allocs)
	}
}

func TestAnnounceReplyRefusesMalformedOnes(t *testing.T) {
	head := tracker.PingReply{Nonce: 1}.AppendTo(nil)
	head[4] = byte(tracker.CommandAnnounce)
	for name, test := range map[string]struct {
		datagram []byte
		code     string
	}{
		"another command": {tracker.PingReply{Nonce: 1}.AppendTo(nil), wire.CodeCommand},
		"no TTL":          {head, wire.CodeMissing},
		"a TTL of 4":      {wire.AppendFieldUint32(bytes.Clone(head), 7, 240), wire.CodeLength},
		"cut off":         {append(bytes.Clone(head), 7, 8, 0), wire.CodeTruncated},
		"the last counts": {wire.AppendFieldUint64(wire.AppendFieldUint64(bytes.Clone(head), 7, 1), 7, 240), ""},
	} {
		got, err := mustSplit(t, test.datagram).Announce()
		if wire.ViolationCode(err) != test.code || (err == nil) != (test.code == "") || err == nil && got.TTLSeconds != 240 {
			t.Errorf("%s: %+v, error %v", name, got, err)
		}
	}
}

// Bar S01
func FuzzTrackerRequest(f *testing.F) {
	addVectors(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		wiretest.CheckAllocationSampled(t, b, func() { _, _ = tracker.ParseRequest(b) })
		q, err := tracker.ParseRequest(b)
		if err != nil {
			if wire.ViolationCode(err) == "" {
				t.Errorf("no violation: %v", err)
			}
			return
		}
		if again, err := tracker.ParseRequest(q.AppendTo(nil)); again != q || err != nil {
			t.Errorf("%+v reads as %+v, error %v", q, again, err)
		}
	})
}

// Bar S01
// Bar S12
func FuzzTrackerReply(f *testing.F) {
	addVectors(f)
	f.Add(tracker.LookupReply{Records: []tracker.Record{tracker.NewRecord(owner(), node(1), 1, 1)}}.AppendTo(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		reply, ok := tracker.SplitReply(b)
		if !ok {
			return
		}
		wiretest.CheckAllocationSampled(t, b, func() {
			_, _ = reply.Lookup(owner().Public())
			_, _ = reply.Announce()
		})
		announced, err := reply.Announce()
		if err == nil {
			if again, err := mustSplit(t, announced.AppendTo(nil)).Announce(); again != announced || err != nil {
				t.Errorf("%+v reads as %+v, error %v", announced, again, err)
			}
			if ttl := announced.TTL(); ttl < tracker.MinTTL || ttl > tracker.MaxTTL {
				t.Errorf("TTL %v", ttl)
			}
		} else if wire.ViolationCode(err) == "" {
			t.Errorf("no violation: %v", err)
		}
		found, err := reply.Lookup(owner().Public())
		if err != nil {
			if wire.ViolationCode(err) == "" {
				t.Errorf("no violation: %v", err)
			}
			return
		}
		if len(found.Records) > wire.MaxRecords {
			t.Errorf("%d records", len(found.Records))
		}
		for _, r := range found.Records {
			if err := r.Verify(owner().Public()); err != nil {
				t.Error(err)
			}
		}
		again, err := mustSplit(t, found.AppendTo(nil)).Lookup(owner().Public())
		if diff := cmp.Diff(found, again); diff != "" || err != nil {
			t.Errorf("error %v\n%s", err, diff)
		}
	})
}

// Bar S01
func FuzzTrackerSync(f *testing.F) {
	addVectors(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		src := buffered(nil)
		wiretest.CheckAllocationSampled(t, b, func() {
			src.Reset(bytes.NewReader(b))
			_, _ = tracker.ReadSync(src)
		})
		frame, err := tracker.ReadSync(buffered(b))
		if err != nil {
			if wire.ViolationCode(err) == "" && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Errorf("error %v", err)
			}
			return
		}
		if r, ok := frame.(tracker.SyncRecord); ok && r.Hop > 0 && r.Record.Verify(r.Identity) != nil {
			t.Error("not verified")
		}
		again, err := tracker.ReadSync(buffered(frame.AppendTo(nil)))
		if again != frame || err != nil {
			t.Errorf("%+v reads as %+v, error %v", frame, again, err)
		}
	})
}

func TestSyncRefusesMalformedFrames(t *testing.T) {
	record := tracker.SyncRecord{
		Hop: 3, Identity: owner().Public(), Record: tracker.NewRecord(owner(), node(1), 1, 2), TTLSeconds: 240, PrevTTLMinutes: 4,
	}
	good := record.AppendTo(nil)
	forged := record
	forged.Record.Node = node(2)
	stranger := record
	stranger.Identity = identity.PublicKey{}
	framed := func(payload []byte) []byte {
		return append(wire.AppendUint32([]byte{0x0a}, uint32(len(payload))), payload...)
	}
	for name, test := range map[string]struct {
		stream []byte
		code   string
	}{
		"unknown command":         {[]byte{0x0b}, wire.CodeCommand},
		"another signature":       {forged.AppendTo(nil), wire.CodeSignature},
		"the zero identity":       {stranger.AppendTo(nil), wire.CodeSignature},
		"no fields":               {framed(nil), wire.CodeMissing},
		"hop of two bytes":        {framed(wire.AppendField(nil, 9, []byte{0, 0})), wire.CodeLength},
		"a field missing":         {framed(good[5 : len(good)-6]), wire.CodeMissing},
		"a field cut off":         {framed(good[5 : len(good)-1]), wire.CodeTruncated},
		"hop 0 and nothing":       {framed(wire.AppendFieldUint8(nil, 9, 0)), ""},
		"payload at the limit":    {framed(padded(good[5:], wire.MaxSyncPayload)), ""},
		"payload above it":        {framed(padded(good[5:], wire.MaxSyncPayload+1)), wire.CodeLength},
		"a length of 2^32 - 1":    {append([]byte{0x0a}, 0xff, 0xff, 0xff, 0xff), wire.CodeLength},
		"a length of 2^31, alone": {append([]byte{0x0a}, 0x80, 0, 0, 0), wire.CodeLength},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := tracker.ReadSync(buffered(test.stream))
			if wire.ViolationCode(err) != test.code || (err == nil) != (test.code == "") {
				t.Errorf("%+v, error %v", got, err)
			}
		})
	}
	for n := range good {
		_, err := tracker.ReadSync(buffered(good[:n]))
		if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[n == 0]; !errors.Is(err, want) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
}
