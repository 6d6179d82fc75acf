// SPDX-License-Identifier: MPL-2.0

package legacy_test

import (
	"bytes"
	"errors"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// frame makes a frame with any size field.
func frame(t peer.FrameType, size int64, body []byte) []byte {
	b := wire.AppendInt32(wire.AppendInt32(nil, 0), int32(t))
	return append(wire.AppendInt64(b, size), body...)
}

func messageFrame(envelope, payload string) []byte {
	return append(frame(peer.FrameMessage, 0, wire.AppendBlob(nil, envelope)), payload...)
}

// Quirk: the size field is only informative, and wrong.
func TestReadFrameDoesNotBelieveTheSize(t *testing.T) {
	for _, size := range []int64{math.MinInt64, -1, 0, 7, 9, 1 << 40, math.MaxInt64} {
		src := buffered(append(frame(peer.FrameOK, size, wire.AppendInt64(nil, 5)), peer.OK{ID: 6}.AppendTo(nil)...))
		for _, want := range []peer.GUID{5, 6} {
			if f, err := legacy.Gen2.ReadFrame(src, peer.Limits{}); f != (peer.OK{ID: want}) || err != nil {
				t.Errorf("size %d: %+v, error %v", size, f, err)
			}
		}
	}
}

// Quirk: lengths that lie.
func TestReadFrameHoldsTheLimits(t *testing.T) {
	huge := wire.AppendInt32(nil, math.MaxInt32)
	negative := wire.AppendInt32(nil, -1)
	for name, b := range map[string][]byte{
		"header":           frame(peer.FrameMessage, 0, huge),
		"negative header":  frame(peer.FrameMessage, 0, negative),
		"payload":          messageFrame(`{"guid":1,"payloadSize":2147483647}`, ""),
		"payload of int64": messageFrame(`{"guid":1,"payloadSize":9223372036854775807}`, ""),
		"nickname":         frame(peer.FrameInfoResponse, 0, append(wire.AppendInt64(nil, 1), huge...)),
		"call packet":      frame(peer.FrameCallPacket, 0, huge),
		"negative packet":  frame(peer.FrameCallPacket, 0, negative),
	} {
		if f, err := legacy.Gen2.ReadFrame(buffered(b), peer.Limits{}); wire.ViolationCode(err) != wire.CodeLength {
			t.Errorf("%s: %+v, error %v", name, f, err)
		}
	}
	f, err := legacy.Gen1.ReadFrame(buffered(messageFrame(`{"guid":1,"payloadSize":-5}`, "")), peer.Limits{})
	if m, ok := f.(peer.Message); !ok || err != nil || m.Payload != nil {
		t.Errorf("a negative payload size is none: %+v, error %v", f, err)
	}
	if _, err := legacy.Gen1.ReadFrame(buffered(messageFrame(`{"guid":1,"payloadSize":9}`, "123456789")), peer.Limits{Payload: 8}); wire.ViolationCode(err) != wire.CodeLength {
		t.Errorf("the caller's limit: error %v", err)
	}
}

// Quirk: nobody can skip what they do not know.
func TestReadFrameRefusesWhatHasNoPlace(t *testing.T) {
	for _, kind := range []peer.FrameType{0, 1, 2, 3, 4, 5, 10, 1001, 3000, 3001, 4000, 4001, -1, math.MaxInt32} {
		for _, g := range []legacy.Generation{legacy.Gen1, legacy.Gen2} {
			src := buffered(frame(kind, 4, make([]byte, 200)))
			if f, err := g.ReadFrame(src, peer.Limits{}); wire.ViolationCode(err) != wire.CodeFrameType {
				t.Errorf("%v, type %d: %+v, error %v", g, kind, f, err)
			}
		}
	}
	for _, kind := range []peer.FrameType{peer.FramePing, peer.FramePong, peer.FrameCallOffer, peer.FrameCallHang} {
		if _, err := legacy.Gen1.ReadFrame(buffered(frame(kind, 0, make([]byte, 200))), peer.Limits{}); wire.ViolationCode(err) != wire.CodeFrameType {
			t.Errorf("%s in gen1: error %v", kind, err)
		}
	}
}

// Quirk: the only mandatory key is the guid.
func TestReadFrameWantsAGUID(t *testing.T) {
	for _, envelope := range []string{`{}`, `{"guid":"x","type":0}`, `{"guid":0}`, `{"guid":null}`} {
		if f, err := legacy.Gen1.ReadFrame(buffered(messageFrame(envelope, "")), peer.Limits{}); wire.ViolationCode(err) != wire.CodeMissing {
			t.Errorf("%s: %+v, error %v", envelope, f, err)
		}
	}
	f, err := legacy.Gen1.ReadFrame(buffered(messageFrame(`{"guid":-9223372036854775808}`, "")), peer.Limits{})
	if m, ok := f.(peer.Message); !ok || err != nil || m.GUID != math.MinInt64 || m.SendTime != 0 || m.Type != peer.TypeText {
		t.Errorf("%+v, error %v", f, err)
	}
}

func TestReadFrameTellsAnEndFromABreak(t *testing.T) {
	whole, err := legacy.Gen2.Append(nil, peer.Message{GUID: 3, Payload: []byte("text")})
	if err != nil {
		t.Fatal(err)
	}
	for n := range whole {
		_, err := legacy.Gen2.ReadFrame(buffered(whole[:n]), peer.Limits{})
		if n == 0 && !errors.Is(err, io.EOF) || n > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes: error %v", n, err)
		}
	}
}

func TestAppendSendsNothingThatCannotBeRead(t *testing.T) {
	server := peer.Attachment{Name: "a.jpg", Key: make([]byte, 32)}.AppendTo(nil)
	inline := legacy.AppendAttachment(nil, peer.Attachment{Name: "a.jpg"}, []byte("jpeg"))
	for _, test := range []struct {
		name       string
		frame      peer.Frame
		gen1, gen2 bool
	}{
		{"text", peer.Message{GUID: 1}, true, true},
		{"picture", peer.Message{GUID: 1, Type: peer.TypeImage, Payload: inline}, true, true},
		{"picture on a server", peer.Message{GUID: 1, Type: peer.TypeImage, Payload: server}, false, false},
		{"picture without anything", peer.Message{GUID: 1, Type: peer.TypeImage}, false, false},
		{"file", peer.Message{GUID: 1, Type: peer.TypeFile, Payload: inline}, false, true},
		{"reaction", peer.Message{GUID: 1, Type: peer.TypeReaction, Payload: peer.Reaction{Emoji: "x", Target: 1}.AppendTo(nil)}, false, true},
		{"call record", peer.Message{GUID: 1, Type: peer.TypeCall}, false, false},
		{"system", peer.Message{GUID: 1, Type: peer.TypeSystem}, false, false},
		{"ping", peer.Ping{}, false, true},
		{"call", peer.CallAnswer{}, false, true},
		{"profile", peer.InfoResponse{}, true, true},
		{"contact request", peer.ContactRequest{}, false, false},
		{"contact response", peer.ContactResponse{}, false, false},
		{"file request", peer.FileRequest{}, false, false},
		{"unknown", peer.Unknown{Type: peer.FrameOK}, false, false},
	} {
		for g, want := range map[legacy.Generation]bool{legacy.Gen1: test.gen1, legacy.Gen2: test.gen2} {
			b, err := g.Append(nil, test.frame)
			if want != (err == nil) || g.Reads(test.frame) != want || err != nil && (!errors.Is(err, legacy.ErrUnreadable) || len(b) > 0) {
				t.Errorf("%s to %v: %d bytes, error %v", test.name, g, len(b), err)
			}
		}
	}
}

func TestAttachmentNamesAreEscaped(t *testing.T) {
	b := legacy.AppendAttachment(nil, peer.Attachment{Name: `a/"b`, Text: "<c>"}, nil)
	if !strings.Contains(string(b), `"name":"a\/\"b"`) || !strings.Contains(string(b), `"text":"<c>"`) {
		t.Errorf("%q", b)
	}
}

func FuzzFrame(f *testing.F) {
	for _, file := range [][]byte{frameVectors, messageVectors} {
		for _, v := range load(f, file) {
			f.Add(v.bytes(f), true)
			f.Add(v.bytes(f), false)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, first bool) {
		g := legacy.Gen2
		if first {
			g = legacy.Gen1
		}
		got, err := g.ReadFrame(buffered(b), peer.Limits{Payload: 1 << 16})
		if err != nil {
			return
		}
		written, err := g.Append(nil, got)
		if err != nil {
			if m, ok := got.(peer.Message); !ok || g.Reads(m) {
				t.Fatalf("read %+v and cannot write it: %v", got, err)
			}
			return
		}
		again, err := g.ReadFrame(buffered(written), peer.Limits{Payload: 1 << 16})
		if err != nil {
			t.Fatalf("wrote what cannot be read: %v", err)
		}
		twice, err := g.Append(nil, again)
		if err != nil || !bytes.Equal(written, twice) {
			t.Fatalf("%x\n%x, error %v", written, twice, err)
		}
	})
}
