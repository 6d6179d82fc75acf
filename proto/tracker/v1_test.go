// SPDX-License-Identifier: MPL-2.0

package tracker_test

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/proto/wire"
)

//go:embed testdata/tracker-v1.json
var vectors1 []byte

func load1(tb testing.TB) map[string][]byte {
	tb.Helper()
	var all struct{ Vectors []struct{ Name, Hex string } }
	if err := json.Unmarshal(vectors1, &all); err != nil {
		tb.Fatal(err)
	}
	byName := make(map[string][]byte)
	for _, v := range all.Vectors {
		b, err := hex.DecodeString(v.Hex)
		if err != nil {
			tb.Fatal(err)
		}
		byName[v.Name] = b
	}
	return byName
}

// counting is the identity whose seed counts up from a byte.
func counting(first byte) identity.PrivateKey {
	var seed [32]byte
	for i := range seed {
		seed[i] = first + byte(i)
	}
	return identity.NewPrivateKey(seed)
}

func addressRecord(address string, client uint32) tracker.Record1 {
	return tracker.NewAddressRecord(counting(0), netip.AddrPortFrom(netip.MustParseAddr(address), 5050), 3, client)
}

func nodeRecord(seed byte, client uint32) tracker.Record1 {
	return tracker.NewNodeRecord(counting(0), identity.NodeKey(counting(seed).Public()), 3, client)
}

func living(r tracker.Record1, life time.Duration) tracker.Record1 {
	r.Life = life
	return r
}

var opaque = cmpopts.EquateComparable(netip.AddrPort{})

func TestVectors1(t *testing.T) {
	id := counting(0).Public()
	all := load1(t)
	checked := 0
	take := func(name string) []byte {
		checked++
		if all[name] == nil {
			t.Fatalf("no vector %s", name)
		}
		return all[name]
	}
	same := func(name string, got, want any, err error) {
		t.Helper()
		if diff := cmp.Diff(want, got, opaque); diff != "" || err != nil {
			t.Errorf("%s: error %v\n%s", name, err, diff)
		}
	}

	const client = 0xa1b2c3d4
	for name, want := range map[string]tracker.Request1{
		"gen1_announce_request": {
			Command: tracker.CommandAnnounce, Nonce: 0x01020304, Identity: id,
			Record: addressRecord("208:62:45:62:59b8:f1a2:62ca:f87c", client),
		},
		"gen1_get_request": {Command: tracker.CommandLookup, Nonce: 0x0a0b0c0d, Identity: id},
	} {
		b := take(name)
		got, err := tracker.ParseRequest1(b, tracker.LayoutAddress)
		same(name, got, want, err)
		same(name, hex.EncodeToString(want.AppendTo(nil)), hex.EncodeToString(b), nil)
		if want.Command == tracker.CommandAnnounce {
			same(name, want.Record.Verify(id), error(nil), nil)
		}
	}
	announce2 := tracker.Request1{Command: tracker.CommandAnnounce, Nonce: 0x11121314, Identity: id, Record: nodeRecord(0x40, client)}
	for name, want := range map[string]tracker.Request1{
		"gen2_announce_request":                   announce2,
		"gen2_announce_request_before_2025_09_28": announce2,
		"gen2_get_request":                        {Command: tracker.CommandLookup, Nonce: 0x21222324, Identity: id},
	} {
		b := take(name)
		if name != "gen2_announce_request_before_2025_09_28" {
			if b[0] != tracker.SelectorClient {
				t.Errorf("%s: selector %d", name, b[0])
			}
			b = b[1:]
		}
		got, err := tracker.ReadRequest1(buffered(b))
		same(name, got, want, err)
		got, err = tracker.ParseRequest1(append(bytes.Clone(b), "more"...), tracker.LayoutNode)
		same(name, got, want, err)
		same(name, hex.EncodeToString(want.AppendTo(nil)), hex.EncodeToString(b), nil)
	}

	first := living(nodeRecord(0x40, client), 299999*time.Millisecond)
	for name, want := range map[string]tracker.Reply1{
		"gen1_announce_response": {Command: tracker.CommandAnnounce, Nonce: 0x01020304, TTL: tracker.AnnounceEvery1},
		"gen1_get_response_two": {Command: tracker.CommandLookup, Nonce: 0x0a0b0c0d, Records: []tracker.Record1{
			living(addressRecord("208:62:45:62:59b8:f1a2:62ca:f87c", client), tracker.TTL1),
			living(addressRecord("308:62:45:62::5", 7), tracker.TTL1),
		}},
		"gen1_get_response_none":       {Command: tracker.CommandLookup, Nonce: 0x0a0b0c0d},
		"gen2_announce_response_first": {Command: tracker.CommandAnnounce, Nonce: 0x11121314, TTL: 4 * time.Minute},
		"gen2_get_response_one":        {Command: tracker.CommandLookup, Nonce: 0x21222324, Records: []tracker.Record1{first}},
		"gen2_get_response_two": {Command: tracker.CommandLookup, Nonce: 0x21222324, Records: []tracker.Record1{
			first, living(nodeRecord(0x60, 7), 2*time.Minute),
		}},
		"gen2_get_response_none": {Command: tracker.CommandLookup, Nonce: 0x21222324},
	} {
		b := take(name)
		layout := tracker.LayoutAddress
		if name[:4] == "gen2" {
			layout = tracker.LayoutNode
			got, err := tracker.ReadReply1(buffered(b), id)
			same(name, got, want, err)
		}
		got, err := tracker.ParseReply1(b, layout, id)
		same(name, got, want, err)
		same(name, hex.EncodeToString(want.AppendTo(nil)), hex.EncodeToString(b), nil)
	}

	node := nodeRecord(0x40, client)
	record := tracker.SyncRecord{
		Hop: 3, Identity: id, TTLSeconds: 299, PrevTTLMinutes: 4,
		Record: tracker.Record{Node: node.Node, Signature: node.Signature, Priority: 3, ClientID: client},
	}
	for name, want := range map[string]tracker.SyncFrame{"gen2_sync_record": record, "gen2_sync_ping": tracker.SyncPing{}} {
		b := take(name)
		got, err := tracker.ReadSync1(buffered(b))
		same(name, got, want, err)
		same(name, hex.EncodeToString(tracker.AppendSync1(nil, want)), hex.EncodeToString(b), nil)
	}
	same("gen2_sync_hello", hex.EncodeToString(tracker.AppendSyncHello1(nil, identity.NodeKey(counting(0x60).Public()))), hex.EncodeToString(take("gen2_sync_hello")), nil)

	if checked != len(all) {
		t.Errorf("%d of %d vectors have a test", checked, len(all))
	}
}

func TestRequestV1_Malformed_Rejected(t *testing.T) {
	all := load1(t)
	for name, test := range map[string]struct {
		b      []byte
		layout tracker.Layout
		code   string
	}{
		"empty":           {nil, tracker.LayoutAddress, wire.CodeTruncated},
		"short":           {all["gen1_get_request"][:37], tracker.LayoutAddress, wire.CodeTruncated},
		"short announce":  {all["gen1_announce_request"][:124], tracker.LayoutAddress, wire.CodeTruncated},
		"version":         {append([]byte{2}, all["gen1_get_request"][1:]...), tracker.LayoutAddress, wire.CodeVersion},
		"command":         {append([]byte{1, 0, 0, 0, 0, 3}, make([]byte, 32)...), tracker.LayoutNode, wire.CodeCommand},
		"ping of old":     {append([]byte{1, 0, 0, 0, 0, 2}, make([]byte, 32)...), tracker.LayoutAddress, wire.CodeCommand},
		"ping too short":  {append([]byte{1, 0, 0, 0, 0, 2}, make([]byte, 31)...), tracker.LayoutNode, wire.CodeTruncated},
		"ping is allowed": {append([]byte{1, 0, 0, 0, 0, 2}, make([]byte, 32)...), tracker.LayoutNode, ""},
	} {
		if q, err := tracker.ParseRequest1(test.b, test.layout); wire.ViolationCode(err) != test.code {
			t.Errorf("%s: %+v, error %v", name, q, err)
		}
	}
}

func TestReply1KeepsGoodRecordsOnly(t *testing.T) {
	good, other := nodeRecord(0x40, 1), nodeRecord(0x60, 2)
	forged := other
	forged.Signature[0] ^= 1
	p := tracker.Reply1{Command: tracker.CommandLookup, Records: []tracker.Record1{forged, good, good, other}}
	got, err := tracker.ParseReply1(p.AppendTo(nil), tracker.LayoutNode, counting(0).Public())
	if err != nil || len(got.Records) != 2 || got.Records[0].Node != good.Node || got.Records[1].Node != other.Node {
		t.Errorf("%+v, error %v", got, err)
	}
	for range 20 {
		p.Records = append(p.Records, good)
	}
	if b := p.AppendTo(nil); int(b[5]) != tracker.MaxRecords2 {
		t.Errorf("%d records in one answer", b[5])
	}
	short := p.AppendTo(nil)
	if _, err := tracker.ParseReply1(short[:len(short)-1], tracker.LayoutNode, counting(0).Public()); wire.ViolationCode(err) != wire.CodeTruncated {
		t.Errorf("error %v", err)
	}
}

func TestSync1RefusesForgeries(t *testing.T) {
	b := load1(t)["gen2_sync_record"]
	forged := bytes.Clone(b)
	forged[100] ^= 1
	if _, err := tracker.ReadSync1(buffered(forged)); wire.ViolationCode(err) != wire.CodeSignature {
		t.Errorf("error %v", err)
	}
	// The body of a record to be ignored is read all the same.
	forged[1] = 0
	src := buffered(append(forged, byte(tracker.CommandSyncPing)))
	if f, err := tracker.ReadSync1(src); f != (tracker.SyncRecord{}) || err != nil {
		t.Errorf("%+v, error %v", f, err)
	}
	if f, err := tracker.ReadSync1(src); f != (tracker.SyncPing{}) || err != nil {
		t.Errorf("%+v, error %v", f, err)
	}
	if _, err := tracker.ReadSync1(buffered([]byte{0x15})); wire.ViolationCode(err) != wire.CodeCommand {
		t.Errorf("error %v", err)
	}
}

func FuzzVersion1(f *testing.F) {
	for _, b := range load1(f) {
		f.Add(b)
		f.Add(b[1:])
	}
	id := counting(0).Public()
	f.Fuzz(func(t *testing.T, b []byte) {
		for _, layout := range []tracker.Layout{tracker.LayoutAddress, tracker.LayoutNode} {
			if q, err := tracker.ParseRequest1(b, layout); err == nil {
				if again := q.AppendTo(nil); !bytes.HasPrefix(b, again) {
					t.Errorf("%x\n%x", again, b)
				}
			}
			if p, err := tracker.ParseReply1(b, layout, id); err == nil && len(p.Records) > wire.MaxRecords {
				t.Errorf("%d records", len(p.Records))
			}
		}
		_, _ = tracker.ReadRequest1(buffered(b))
		_, _ = tracker.ReadReply1(buffered(b), id)
		if s, err := tracker.ReadSync1(buffered(b)); err == nil && s != (tracker.SyncRecord{}) {
			if again := tracker.AppendSync1(nil, s); !bytes.HasPrefix(b, again) {
				t.Errorf("%x\n%x", again, b)
			}
		}
	})
}
