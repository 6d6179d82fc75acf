// SPDX-License-Identifier: MPL-2.0

package legacy_test

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// check compares a frame with its bytes in both directions.
func check(t *testing.T, g legacy.Generation, f peer.Frame, want []byte) {
	t.Helper()
	b, err := g.Append(nil, f)
	if err != nil || !bytes.Equal(b, want) {
		t.Errorf("%v writes %x\nwant %x, error %v", g, b, want, err)
	}
	src := buffered(want)
	read := g.ReadFrame
	if f.FrameType() >= peer.FrameHello && f.FrameType() <= peer.FrameChallengeAnswer2 {
		return // read by the handshake only
	}
	got, err := read(src, peer.Limits{})
	if diff := cmp.Diff(f, got); diff != "" || err != nil || src.Buffered() != 0 {
		t.Errorf("%v reads, %d bytes left over, error %v\n%s", g, src.Buffered(), err, diff)
	}
}

func TestFrameVectors(t *testing.T) {
	challenge := identity.Challenge(unhex(t, "c0c1c2c3c4c5c6c7c8c9cacbcccdcecfd0d1d2d3d4d5d6d7d8d9dadbdcdddedf"))
	challenge2 := identity.Challenge(unhex(t, "e0e1e2e3e4e5e6e7e8e9eaebecedeeeff0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"))
	sign := func(key identity.PrivateKey, c identity.Challenge) identity.Signature {
		sig, err := key.SignChallenge(c, identity.Seal{}, identity.KeyGuard())
		if err != nil {
			t.Fatal(err)
		}
		return sig
	}
	hello := peer.Hello{Version: 1, Sender: alice().Public(), Receiver: bob().Public(), ClientID: 0xa1b2c3d4}
	withNode := hello
	withNode.Address = identity.NodeKey(unhex(t, "2543b92ff1095511476adc8369db6ddc933665a11978dda1404ee1066ca9559d"))
	both := []legacy.Generation{legacy.Gen1, legacy.Gen2}
	second := both[1:]
	frames := map[string]struct {
		generations []legacy.Generation
		frame       peer.Frame
	}{
		"hello":                   {both, hello},
		"hello_node_key":          {second, withNode},
		"challenge":               {both, peer.Challenge{Challenge: challenge}},
		"challenge_answer":        {both, peer.ChallengeAnswer{Signature: sign(alice(), challenge)}},
		"ok_zero":                 {both, peer.OK{}},
		"challenge2":              {both, peer.Challenge2{Challenge: challenge2}},
		"challenge_answer2":       {both, peer.ChallengeAnswer2{Signature: sign(bob(), challenge2)}},
		"info_request_never_seen": {both, peer.InfoRequest{}},
		"info_request":            {both, peer.InfoRequest{Since: 1674650000}},
		"info_response":           {both, peer.InfoResponse{Time: 1674651234, Profile: peer.Profile{Nickname: "Alice"}}},
		"info_response_avatar": {both, peer.InfoResponse{Time: 1760000000, Profile: peer.Profile{
			Nickname: "Алиса", Info: "hi/there", Avatar: unhex(t, "ffd8ffe000104a46"),
		}}},
		"ping":            {second, peer.Ping{}},
		"pong":            {second, peer.Pong{}},
		"call_offer":      {second, peer.CallOffer{MIMEType: "audio/mp4a-latm", SampleRate: 44100, Channels: 1}},
		"call_answer_yes": {second, peer.CallAnswer{Accepted: true}},
		"call_answer_no":  {second, peer.CallAnswer{Error: "busy"}},
		"call_hang":       {second, peer.CallHang{}},
		"call_packet":     {second, peer.CallPacket{Data: unhex(t, "101112131415161718191a1b")}},
	}
	for _, v := range load(t, frameVectors) {
		t.Run(v.Name, func(t *testing.T) {
			switch v.Name {
			case "header": // a part of every other one
				if !bytes.HasPrefix(peer.OK{ID: 5}.AppendTo(nil), v.bytes(t)) {
					t.Error("the header differs")
				}
				return
			case "hello_subnet_address": // see TestHandshakeReadsTheAddressOfGeneration1
				return
			}
			entry, ok := frames[v.Name]
			if !ok {
				t.Fatal("a vector without a test")
			}
			for _, g := range entry.generations {
				check(t, g, entry.frame, v.bytes(t))
			}
		})
	}
}

func TestMessageVectors(t *testing.T) {
	for _, v := range load(t, messageVectors) {
		t.Run(v.Name, func(t *testing.T) {
			switch v.Name {
			case "ack_of_text_gen2":
				check(t, legacy.Gen2, peer.OK{ID: peer.GUID(v.int(t, "id"))}, v.bytes(t))
				return
			case "text_binary_2023_01_12": // from before the present form; nobody sends it any more
				if _, err := legacy.Gen1.ReadFrame(buffered(v.bytes(t)), peer.Limits{}); wire.ViolationCode(err) == "" {
					t.Errorf("error %v", err)
				}
				return
			}
			m := peer.Message{
				GUID: peer.GUID(v.int(t, "guid")), ReplyTo: peer.GUID(v.int(t, "replyTo")), SendTime: v.int(t, "sendTime"),
				EditTime: v.int(t, "editTime"), Type: peer.MessageType(v.int(t, "type")), Payload: payload(t, v),
			}
			check(t, legacy.Gen2, m, v.bytes(t))
			if legacy.Gen1.Reads(m) {
				check(t, legacy.Gen1, m, v.bytes(t))
			}
			if !bytes.Contains(v.bytes(t), []byte(v.text("json"))) {
				t.Error("the vector contradicts itself")
			}
		})
	}
}

// payload makes the payload that a vector describes.
func payload(t *testing.T, v vector) []byte {
	if v.text("attachment") == "" {
		if s := v.text("payload_utf8"); s != "" {
			return []byte(s)
		}
		return nil
	}
	data := unhex(t, v.text("attachment"))
	var meta struct{ Name, Hash, OriginalName, MIMEType, Text string }
	if err := json.Unmarshal([]byte(v.text("metadata")), &meta); err != nil {
		t.Fatal(err)
	}
	b := legacy.AppendAttachment(nil, peer.Attachment{
		Name: meta.Name, Hash: meta.Hash, OriginalName: meta.OriginalName, MIMEType: meta.MIMEType, Text: meta.Text,
	}, data)
	a, err := peer.ParseAttachment(b)
	if err != nil || a.Form != peer.FormInline || !bytes.Equal(a.Data, data) || a.Text != meta.Text || a.MIMEType != meta.MIMEType || a.Name != meta.Name {
		t.Errorf("%+v, error %v", a, err)
	}
	return b
}

func TestGUIDVectors(t *testing.T) {
	var all struct {
		Vectors []struct {
			Data  string      `json:"data_hex"`
			Old   json.Number `json:"guid_old"`
			XXH64 json.Number `json:"guid_xxh64"`
			Hash  int32       `json:"java_hash_i32"`
			Time  int64
		}
	}
	if err := json.Unmarshal(guidVectors, &all); err != nil || len(all.Vectors) == 0 {
		t.Fatalf("%d vectors, error %v", len(all.Vectors), err)
	}
	for _, v := range all.Vectors {
		data := unhex(t, v.Data)
		if got := legacy.OldGUID(data, v.Time); got.String() != v.Old.String() {
			t.Errorf("%s: %v, want %v", v.Data, got, v.Old)
		}
		if got := legacy.OldGUID(data, 0); got != peer.GUID(int64(v.Hash)<<32) {
			t.Errorf("%s: %v with hash %d", v.Data, got, v.Hash)
		}
		if got := peer.AppGUID(data, v.Time); got.String() != v.XXH64.String() {
			t.Errorf("%s: %v, want %v", v.Data, got, v.XXH64)
		}
	}
}

// javaBytes is what the apps draw a challenge with: a generator with 48 bits of
// state, seeded with the clock.
func javaBytes(clockMS int64) [32]byte {
	const mask = 1<<48 - 1
	state := (uint64(clockMS) ^ 0x5deece66d) & mask
	var out [32]byte
	for i := 0; i < len(out); i += 4 {
		state = (state*0x5deece66d + 0xb) & mask
		word := uint32(state >> 16)
		out[i], out[i+1], out[i+2], out[i+3] = byte(word), byte(word>>8), byte(word>>16), byte(word>>24)
	}
	return out
}

func TestPredictableChallengeVectors(t *testing.T) {
	var all struct {
		Vectors []struct {
			Challenge string
			ClockMS   int64 `json:"clock_ms"`
		}
	}
	if err := json.Unmarshal(challengeVectors, &all); err != nil || len(all.Vectors) == 0 {
		t.Fatalf("%d vectors, error %v", len(all.Vectors), err)
	}
	for _, v := range all.Vectors {
		if got := javaBytes(v.ClockMS); hex.EncodeToString(got[:]) != v.Challenge {
			t.Errorf("%d: %x, want %s", v.ClockMS, got, v.Challenge)
		}
	}
}
