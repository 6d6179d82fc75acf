// SPDX-License-Identifier: MPL-2.0

package stream_test

import (
	"bytes"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/mimird/mimird/proto/stream"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

//go:embed testdata/stream.json
var vectorFile []byte

// vectorPacket is the form of a packet in the vector file.
type vectorPacket struct {
	Source      uint16 `json:"src_port"`
	Destination uint16 `json:"dst_port"`
	Sequence    uint32 `json:"seq"`
	Ack         uint32 `json:"ack"`
	Flags       uint8  `json:"flags"`
	Window      uint32 `json:"window"`
	Payload     string `json:"payload"`
}

func (p vectorPacket) packet(t *testing.T) stream.Packet {
	t.Helper()
	payload, err := hex.DecodeString(p.Payload)
	if err != nil {
		t.Fatal(err)
	}
	return stream.Packet{
		Header: stream.Header{
			SourcePort: p.Source, DestinationPort: p.Destination,
			Sequence: p.Sequence, Acknowledgment: p.Ack,
			Flags: stream.Flags(p.Flags), Window: p.Window,
		},
		Payload: payload,
	}
}

func mustDecode[T any](t *testing.T, raw json.RawMessage) (v T) {
	t.Helper()
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func mustInputs[T any](t *testing.T, inputs map[string]json.RawMessage) T {
	t.Helper()
	raw, err := json.Marshal(inputs)
	if err != nil {
		t.Fatal(err)
	}
	return mustDecode[T](t, raw)
}

func TestVectors(t *testing.T) {
	encodes := func(t *testing.T, v wiretest.Vector) (stream.Packet, []byte) {
		t.Helper()
		p := mustInputs[vectorPacket](t, v.Inputs).packet(t)
		want, err := hex.DecodeString(mustDecode[string](t, v.Output))
		if err != nil {
			t.Fatal(err)
		}
		got, err := p.AppendTo(nil)
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("encoded as %x, %v; want %x", got, err, want)
		}
		return p, want
	}
	both := func(t *testing.T, v wiretest.Vector) {
		t.Helper()
		p, bytes := encodes(t, v)
		got, err := stream.Parse(bytes)
		if err != nil || got.Header != p.Header || string(got.Payload) != string(p.Payload) {
			t.Errorf("decoded as %+v, %v; want %+v", got, err, p)
		}
	}
	checks := map[string]func(*testing.T, wiretest.Vector){
		"window-truncated": func(t *testing.T, v wiretest.Vector) { encodes(t, v) },
		"too-short": func(t *testing.T, v wiretest.Vector) {
			in := mustInputs[struct{ Packet string }](t, v.Inputs)
			raw, err := hex.DecodeString(in.Packet)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := stream.Parse(raw); !errors.Is(err, stream.ErrShort) {
				t.Errorf("got %v, want ErrShort", err)
			}
		},
		"payload-limits": func(t *testing.T, v wiretest.Vector) {
			in := mustInputs[struct {
				Max int `json:"max_payload"`
			}](t, v.Inputs)
			out := mustDecode[struct {
				Length int `json:"packet_length"`
			}](t, v.Output)
			got, err := stream.Packet{Payload: make([]byte, in.Max)}.AppendTo(nil)
			if err != nil || len(got) != out.Length {
				t.Errorf("largest payload gave %d bytes, %v; want %d", len(got), err, out.Length)
			}
			prefix := []byte("kept")
			got, err = stream.Packet{Payload: make([]byte, in.Max+1)}.AppendTo(prefix)
			if !errors.Is(err, stream.ErrLong) || string(got) != "kept" {
				t.Errorf("one byte more gave %d bytes, %v; want ErrLong", len(got), err)
			}
		},
		"demux": func(t *testing.T, v wiretest.Vector) {
			in := mustInputs[struct {
				Bytes []string `json:"first_bytes"`
			}](t, v.Inputs)
			names := map[stream.Class]string{
				stream.ClassStream: "ygg_stream", stream.ClassTraffic: "yggdrasil traffic",
				stream.ClassProtocol: "yggdrasil protocol", stream.ClassUnknown: "drop",
			}
			want := mustDecode[[]string](t, v.Output)
			for i, b := range in.Bytes {
				raw, err := hex.DecodeString(b)
				if err != nil {
					t.Fatal(err)
				}
				if got := names[stream.Classify(raw[0])]; got != want[i] {
					t.Errorf("byte %s is %q, want %q", b, got, want[i])
				}
			}
		},
	}
	for _, name := range []string{
		"syn", "syn-ack", "handshake-ack", "data-first", "data-mid", "pure-ack", "fin", "fin-answer-reference",
		"fin-answer-ours", "rst", "datagram", "datagram-empty", "max-window",
	} {
		checks[name] = both
	}
	wiretest.Run(t, vectorFile, checks)
}

// The headers with names of their own are those that the reference sends.
func TestHeadersMatchVectors(t *testing.T) {
	want := make(map[string]stream.Header)
	for _, v := range wiretest.Load(t, vectorFile) {
		if v.Inputs["src_port"] != nil {
			want[v.Name] = mustInputs[vectorPacket](t, v.Inputs).packet(t).Header
		}
	}
	for name, got := range map[string]stream.Header{
		"syn":            stream.ControlHeader(49152, 42, stream.SYN),
		"syn-ack":        stream.ControlHeader(42, 49152, stream.SYN|stream.ACK),
		"rst":            stream.ControlHeader(42, 49152, stream.RST),
		"datagram-empty": stream.DatagramHeader(69),
	} {
		if got != want[name] {
			t.Errorf("%s is %+v, want %+v", name, got, want[name])
		}
	}
}

func TestClassifyKnowsEveryByte(t *testing.T) {
	for b := range 256 {
		want := stream.ClassUnknown
		switch {
		case b == 0, b >= 0xC0:
			want = stream.ClassStream
		case b == 1:
			want = stream.ClassTraffic
		case b == 2:
			want = stream.ClassProtocol
		}
		if got := stream.Classify(byte(b)); got != want {
			t.Errorf("byte %#x is class %d, want %d", b, got, want)
		}
	}
}

func TestFlagsHas(t *testing.T) {
	f := stream.SYN | stream.ACK | 0x80
	if !f.Has(stream.SYN) || !f.Has(stream.SYN|stream.ACK) || f.Has(stream.SYN|stream.FIN) {
		t.Errorf("Has is wrong for %#x", f)
	}
}

// Bar S01
func FuzzStreamPacket(f *testing.F) {
	for _, v := range wiretest.Load(f, vectorFile) {
		var text string
		if json.Unmarshal(v.Output, &text) == nil {
			if raw, err := hex.DecodeString(text); err == nil {
				f.Add(raw)
			}
		}
	}
	f.Add(make([]byte, stream.HeaderSize-1))
	f.Add(bytes.Repeat([]byte{0xff}, stream.HeaderSize+1))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := stream.Parse(b)
		if err != nil {
			if len(b) >= stream.HeaderSize {
				t.Fatalf("%d bytes did not parse: %v", len(b), err)
			}
			return
		}
		again, err := p.AppendTo(nil)
		if len(p.Payload) > stream.MaxPayload {
			if !errors.Is(err, stream.ErrLong) {
				t.Fatalf("payload of %d bytes gave %v", len(p.Payload), err)
			}
			return
		}
		if err != nil || !bytes.Equal(again, b) {
			t.Fatalf("%x became %x, %v", b, again, err)
		}
	})
}
