// SPDX-License-Identifier: MPL-2.0

package tracker_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/tracker"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

type check = func(*testing.T, wiretest.Vector)

// Bar S26
func TestVectors(t *testing.T) {
	wiretest.Run(t, vectors, map[string]check{
		"announce-request": request(func(v wiretest.Vector) tracker.Request {
			key := identity.NewPrivateKey(v.Key("identity_seed"))
			record := tracker.NewRecord(key, v.Key("node_pub"), uint8(v.Int("priority")), uint32(v.Int("client_id")))
			if record.Signature != identity.Signature(v.Hex("signature")) || key.Public() != v.Key("identity_pub") {
				t.Errorf("signature %x", record.Signature)
			}
			return tracker.Announce{Nonce: nonce(v), Identity: key.Public(), Record: record}
		}),
		"announce-response": func(t *testing.T, v wiretest.Vector) {
			want := tracker.AnnounceReply{Nonce: nonce(v), TTLSeconds: uint64(v.Int("ttl_secs"))}
			got, err := mustSplit(t, v.OutputHex()).Announce()
			if got != want || err != nil || got.TTL() != 240*time.Second {
				t.Errorf("%+v, error %v", got, err)
			}
			equal(t, want.AppendTo(nil), v.OutputHex())
		},
		"ttl-sequence": func(t *testing.T, v wiretest.Vector) {
			var want []int
			v.DecodeOutput(&want)
			var got []int
			for ttl := time.Duration(0); len(got) < int(v.Int("announces")); {
				ttl = tracker.NextTTL(ttl)
				got = append(got, int(ttl.Seconds()))
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Error(diff)
			}
		},
		"ping-request": request(func(v wiretest.Vector) tracker.Request { return tracker.Ping{Nonce: nonce(v)} }),
		"ping-response": func(t *testing.T, v wiretest.Vector) {
			equal(t, tracker.PingReply{Nonce: nonce(v)}.AppendTo(nil), v.OutputHex())
			if got := mustSplit(t, v.OutputHex()); got.Nonce != nonce(v) || got.Command != tracker.CommandPing {
				t.Errorf("%+v", got)
			}
		},
		"get-addrs-request": request(func(v wiretest.Vector) tracker.Request {
			return tracker.Lookup{Nonce: nonce(v), Identity: v.Key("identity_pub")}
		}),
		"get-addrs-response-none": func(t *testing.T, v wiretest.Vector) {
			checkLookupReply(t, v, tracker.LookupReply{Nonce: nonce(v)})
		},
		"get-addrs-response-one": checkRecords,
		"get-addrs-response-two": func(t *testing.T, v wiretest.Vector) {
			checkRecords(t, v)
			got := records(v)
			second := got[1].Node
			if tracker.Rank(got); got[0].Node != second {
				t.Error("the dial order is not by priority")
			}
		},
		"get-addrs-response-bad-signature": func(t *testing.T, v wiretest.Vector) {
			var want struct {
				Usable []string `json:"usable_node_pubs"`
			}
			v.DecodeOutput(&want)
			reply, err := mustSplit(t, v.Hex("response")).Lookup(v.Key("identity_pub"))
			var got []string
			for _, r := range reply.Records {
				got = append(got, r.Node.String())
			}
			if diff := cmp.Diff(want.Usable, got); diff != "" || err != nil {
				t.Errorf("error %v\n%s", err, diff)
			}
		},
		"get-addrs-response-count-too-big": func(t *testing.T, v wiretest.Vector) {
			if reply, err := mustSplit(t, v.Hex("response")).Lookup(vectorOwner(t)); wire.ViolationCode(err) != wire.CodeValue {
				t.Errorf("%+v, error %v", reply, err)
			}
		},
		"sync-data": func(t *testing.T, v wiretest.Vector) {
			want := tracker.SyncRecord{
				Hop: uint8(v.Int("hop")), Identity: v.Key("identity_pub"), TTLSeconds: uint64(v.Int("ttl_secs")), PrevTTLMinutes: uint32(v.Int("prev_ttl")),
				Record: tracker.Record{
					Node: v.Key("node_pub"), Signature: identity.Signature(v.Hex("signature")), Priority: uint8(v.Int("priority")), ClientID: uint32(v.Int("client_id")),
				},
			}
			checkSync(t, v, want)
			if want.Hop != tracker.FirstHop || want.Life() != 299*time.Second || want.PreviousTTL() != 4*time.Minute {
				t.Errorf("life %v, previous %v", want.Life(), want.PreviousTTL())
			}
		},
		"sync-ping": func(t *testing.T, v wiretest.Vector) { checkSync(t, v, tracker.SyncPing{}) },
		"get-addrs-raw-packets": func(t *testing.T, v wiretest.Vector) {
			var packets struct {
				Request  string `json:"request_packet"`
				Response string `json:"response_packet"`
			}
			v.DecodeOutput(&packets)
			// 16 bytes of ygg_stream header, then what this package writes.
			q, err := tracker.ParseRequest(wiretest.MustHex(t, packets.Request)[16:])
			if err != nil {
				t.Fatal(err)
			}
			equal(t, q.AppendTo(nil), v.Hex("request"))
			reply, err := mustSplit(t, wiretest.MustHex(t, packets.Response)[16:]).Lookup(vectorOwner(t))
			if err != nil || len(reply.Records) > 0 {
				t.Errorf("%+v, error %v", reply, err)
			}
			equal(t, reply.AppendTo(nil), v.Hex("response"))
		},
		"v1-datagram-ping": func(t *testing.T, v wiretest.Vector) {
			var want struct{ Request, Response string }
			v.DecodeOutput(&want)
			if q, err := tracker.ParseRequest(wiretest.MustHex(t, want.Request)); wire.ViolationCode(err) != wire.CodeVersion {
				t.Errorf("%+v, error %v", q, err)
			}
			equal(t, tracker.PingReply{Nonce: nonce(v)}.AppendTo(nil), wiretest.MustHex(t, want.Response))
		},
	})
}

func nonce(v wiretest.Vector) tracker.Nonce {
	return tracker.Nonce(binary.BigEndian.Uint32(v.Hex("nonce")))
}

// vectorOwner returns the identity that the records of the vectors are for.
func vectorOwner(t *testing.T) identity.PublicKey {
	t.Helper()
	for _, v := range wiretest.Load(t, vectors) {
		if v.Name == "announce-request" {
			return v.Key("identity_pub")
		}
	}
	t.Fatal("no such vector")
	return identity.PublicKey{}
}

func equal(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("written as\n%x, want\n%x", got, want)
	}
}

// request checks a request both ways.
func request(want func(wiretest.Vector) tracker.Request) check {
	return func(t *testing.T, v wiretest.Vector) {
		equal(t, want(v).AppendTo([]byte("x"))[1:], v.OutputHex())
		got, err := tracker.ParseRequest(v.OutputHex())
		if got != want(v) || err != nil {
			t.Errorf("%+v, error %v", got, err)
		}
		if a, ok := got.(tracker.Announce); ok && a.Record.Verify(a.Identity) != nil {
			t.Error("does not verify")
		}
	}
}

func records(v wiretest.Vector) []tracker.Record {
	var entries []struct {
		ClientID  uint32 `json:"client_id"`
		ExpiresMS uint64 `json:"expires_ms"`
		Node      string `json:"node_pub"`
		Priority  uint8  `json:"priority"`
		Signature string `json:"signature"`
	}
	if err := json.Unmarshal(v.Inputs["records"], &entries); err != nil {
		panic(err)
	}
	var all []tracker.Record
	for _, e := range entries {
		r := tracker.Record{Priority: e.Priority, ClientID: e.ClientID, ExpiresMS: e.ExpiresMS}
		if _, err := hex.Decode(r.Node[:], []byte(e.Node)); err != nil {
			panic(err)
		}
		if _, err := hex.Decode(r.Signature[:], []byte(e.Signature)); err != nil {
			panic(err)
		}
		all = append(all, r)
	}
	return all
}

func checkRecords(t *testing.T, v wiretest.Vector) {
	checkLookupReply(t, v, tracker.LookupReply{Nonce: nonce(v), Records: records(v)})
}

func checkLookupReply(t *testing.T, v wiretest.Vector, want tracker.LookupReply) {
	t.Helper()
	equal(t, want.AppendTo(nil), v.OutputHex())
	got, err := mustSplit(t, v.OutputHex()).Lookup(vectorOwner(t))
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("error %v\n%s", err, diff)
	}
}

func checkSync(t *testing.T, v wiretest.Vector, want tracker.SyncFrame) {
	t.Helper()
	equal(t, want.AppendTo(nil), v.OutputHex())
	if got, err := tracker.ReadSync(buffered(v.OutputHex())); got != want || err != nil {
		t.Errorf("%+v, error %v", got, err)
	}
}
