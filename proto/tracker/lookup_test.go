// SPDX-License-Identifier: MPL-2.0

package tracker_test

import (
	"bytes"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

// reply makes an answer to a lookup field by field.
type reply []byte

func newReply() reply {
	b := tracker.PingReply{Nonce: 1}.AppendTo(nil)
	b[4] = byte(tracker.CommandLookup)
	return b
}

func (r reply) field(tag byte, value ...byte) reply {
	return wire.AppendField(bytes.Clone(r), tag, value)
}
func (r reply) count(n byte) reply { return r.field(0x0b, n) }

func (r reply) record(fields ...[]byte) reply {
	return r.field(0x0c, bytes.Join(fields, nil)...)
}

// The fields of a good record for a node.
func nodeField(n int) []byte {
	k := node(n)
	return wire.AppendField(nil, 2, k[:])
}

func signatureField(n int) []byte {
	sig := owner().SignAnnounce(node(n))
	return wire.AppendField(nil, 3, sig[:])
}
func priorityField(p byte) []byte   { return wire.AppendFieldUint8(nil, 5, p) }
func clientField(c uint32) []byte   { return wire.AppendFieldUint32(nil, 6, c) }
func expiresField(ms uint64) []byte { return wire.AppendFieldUint64(nil, 8, ms) }
func (r reply) good(n int) reply    { return r.record(goodFields(n)...) }
func goodFields(n int) [][]byte {
	return [][]byte{nodeField(n), signatureField(n), priorityField(1), clientField(uint32(n)), expiresField(299000)}
}

func nodes(records []tracker.Record) []identity.NodeKey {
	var keys []identity.NodeKey
	for _, r := range records {
		keys = append(keys, r.Node)
	}
	return keys
}

func keys(numbers ...int) []identity.NodeKey {
	var all []identity.NodeKey
	for _, n := range numbers {
		all = append(all, node(n))
	}
	return all
}

// Bar S12
func TestLookupTakesOnlyWhatIsSigned(t *testing.T) {
	small := identity.PublicKey{0: 1}
	for _, test := range []struct {
		name  string
		reply reply
		want  []identity.NodeKey
		code  string
	}{
		{"no fields", newReply(), nil, ""},
		{"no count", newReply().good(1), nil, ""},
		{"count 0", newReply().count(0), nil, ""},
		{"count 0 with a record", newReply().count(0).good(1), nil, ""},
		{"one", newReply().count(1).good(1), keys(1), ""},
		{"records before the count", newReply().good(1).count(1), keys(1), ""},
		{"more records than the count", newReply().count(2).good(1).good(2).good(3), keys(1, 2), ""},
		{"unknown fields between", newReply().field(0xee, 1).count(1).field(0xef).good(1), keys(1), ""},
		{"the first count wins", newReply().count(1).good(1).good(2).count(2), keys(1), ""},
		{"the first count wins, too large", newReply().count(3).count(1).good(1), nil, wire.CodeValue},
		{"count 255 with one record", newReply().count(255).good(1), nil, wire.CodeValue},
		{"count 1 without records", newReply().count(1), nil, wire.CodeValue},
		{"count of no bytes", newReply().field(0x0b).good(1), nil, wire.CodeLength},
		{"count of two bytes", newReply().field(0x0b, 0, 1).good(1), nil, wire.CodeLength},
		{"cut off", newReply().count(1).good(1)[:100], nil, wire.CodeTruncated},
		{"another signature", newReply().count(2).record(nodeField(1), signatureField(2), clientField(1), expiresField(1)).good(3), keys(3), ""},
		{"a bad record counts", newReply().count(1).record(nodeField(1), signatureField(2), clientField(1), expiresField(1)).good(3), nil, ""},
		{"an empty record", newReply().count(2).record().good(3), keys(3), ""},
		{"a record that does not parse", newReply().count(2).record([]byte{2}).good(3), keys(3), ""},
		{"no node", newReply().count(1).record(goodFields(1)[1:]...), nil, ""},
		{"no signature", newReply().count(1).record(nodeField(1), clientField(1), expiresField(1)), nil, ""},
		{"no client id", newReply().count(1).record(nodeField(1), signatureField(1), expiresField(1)), nil, ""},
		{"no expiry", newReply().count(1).record(nodeField(1), signatureField(1), clientField(1)), nil, ""},
		{"no priority", newReply().count(1).record(nodeField(1), signatureField(1), clientField(1), expiresField(1)), keys(1), ""},
		{"repeated fields, the last counts", newReply().count(1).record(append([][]byte{nodeField(9), signatureField(9)}, goodFields(1)...)...), keys(1), ""},
		{"repeated fields, the last is forged", newReply().count(1).record(append(goodFields(1), nodeField(9))...), nil, ""},
		{"the same node twice", newReply().count(3).good(1).good(1).good(2), keys(1, 2), ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := mustSplit(t, test.reply).Lookup(owner().Public())
			if wire.ViolationCode(err) != test.code || (err == nil) != (test.code == "") {
				t.Fatalf("%+v, error %v", got, err)
			}
			if diff := cmp.Diff(test.want, nodes(got.Records)); diff != "" {
				t.Error(diff)
			}
			// For another identity none of it is worth anything.
			for _, other := range []identity.PublicKey{privateKey(2).Public(), {}, small} {
				if got, _ := mustSplit(t, test.reply).Lookup(other); len(got.Records) > 0 {
					t.Errorf("%d records for %s", len(got.Records), other.Short())
				}
			}
		})
	}
	if _, err := mustSplit(t, tracker.PingReply{}.AppendTo(nil)).Lookup(owner().Public()); wire.ViolationCode(err) != wire.CodeCommand {
		t.Errorf("an answer to another command: %v", err)
	}
}

func TestLookupReadsPrioritiesLeniently(t *testing.T) {
	for _, test := range []struct {
		priority []byte
		want     uint8
	}{
		{nil, 0},
		{priorityField(7), 7},
		{wire.AppendField(nil, 5, nil), 0},
		{wire.AppendField(nil, 5, []byte{1, 2}), 0},
		{append(priorityField(7), priorityField(9)...), 9},
		{append(priorityField(7), wire.AppendField(nil, 5, []byte{1, 2})...), 0},
	} {
		r := newReply().count(1).record(nodeField(1), signatureField(1), test.priority, clientField(1), expiresField(1))
		got, err := mustSplit(t, r).Lookup(owner().Public())
		if err != nil || len(got.Records) != 1 || got.Records[0].Priority != test.want {
			t.Errorf("%x: %+v, error %v", test.priority, got, err)
		}
	}
}

// Bar S03
// Bar S12
func TestLookupReturnsAtMostSixteenRecords(t *testing.T) {
	for _, n := range []int{15, 16, 17, 255} {
		r := newReply().count(byte(n))
		for i := range n {
			r = r.good(i)
		}
		got, err := mustSplit(t, r).Lookup(owner().Public())
		if err != nil || len(got.Records) != min(n, 16) || got.Records[0].Node != node(0) {
			t.Errorf("%d records: %d, error %v", n, len(got.Records), err)
		}
		wiretest.CheckAllocation(t, len(r), func() { _, _ = mustSplit(t, r).Lookup(owner().Public()) })
	}

	// An old record that somebody replays under many client ids takes one place.
	replayed := goodFields(7)
	r := newReply().count(41)
	for i := range 40 {
		replayed[2], replayed[3] = priorityField(255), clientField(uint32(100+i))
		r = r.record(replayed...)
	}
	got, err := mustSplit(t, r.good(1)).Lookup(owner().Public())
	if diff := cmp.Diff(keys(7, 1), nodes(got.Records)); diff != "" || err != nil {
		t.Errorf("error %v\n%s", err, diff)
	}
}

func TestLookupReplyWritesWhatItCanCount(t *testing.T) {
	var all []tracker.Record
	for i := range 300 {
		all = append(all, tracker.Record{Node: node(i)})
	}
	for _, n := range []int{0, 1, 254, 255, 256, 300} {
		b := tracker.LookupReply{Records: all[:n]}.AppendTo([]byte("before"))[len("before"):]
		fields, err := wire.ParseFields(b[5:])
		if err != nil {
			t.Fatal(err)
		}
		records := 0
		for range fields.Each(0x0c) {
			records++
		}
		if count := int(fields.Uint8(0x0b, "count")); count != min(n, 255) || records != count || len(b) > wire.MaxTrackerDatagram {
			t.Errorf("%d records: count %d, written %d", n, count, records)
		}
	}
}

func TestRankIsStable(t *testing.T) {
	records := []tracker.Record{{ClientID: 1, Priority: 3}, {ClientID: 2, Priority: 7}, {ClientID: 3, Priority: 3}, {ClientID: 4}, {ClientID: 5, Priority: 255}}
	tracker.Rank(records)
	var order []uint32
	for _, r := range records {
		order = append(order, r.ClientID)
	}
	if diff := cmp.Diff([]uint32{5, 2, 1, 3, 4}, order); diff != "" {
		t.Error(diff)
	}
}
