// SPDX-License-Identifier: MPL-2.0

package peer_test

import (
	"bufio"
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// Bar S03
func TestProfile_TooLong_Cut(t *testing.T) {
	for _, test := range []struct {
		sent, kept peer.Profile
	}{
		{
			peer.Profile{Nickname: strings.Repeat("n", 255), Info: strings.Repeat("i", 4095), Avatar: make([]byte, 51199)},
			peer.Profile{Nickname: strings.Repeat("n", 255), Info: strings.Repeat("i", 4095), Avatar: make([]byte, 51199)},
		},
		{
			peer.Profile{Nickname: strings.Repeat("n", 256), Info: strings.Repeat("i", 4096), Avatar: make([]byte, 51200)},
			peer.Profile{Nickname: strings.Repeat("n", 256), Info: strings.Repeat("i", 4096), Avatar: make([]byte, 51200)},
		},
		{
			peer.Profile{Nickname: strings.Repeat("n", 257), Info: strings.Repeat("i", 4097), Avatar: make([]byte, 51201)},
			peer.Profile{Nickname: strings.Repeat("n", 256), Info: strings.Repeat("i", 4096)},
		},
		{
			peer.Profile{Nickname: "n" + strings.Repeat("я", 200), Info: strings.Repeat("😀", 2000)},
			peer.Profile{Nickname: "n" + strings.Repeat("я", 127), Info: strings.Repeat("😀", 1024)},
		},
	} {
		for _, pair := range [][2]peer.Frame{
			{peer.InfoResponse{Time: 1, Profile: test.sent}, peer.InfoResponse{Time: 1, Profile: test.kept}},
			{
				peer.ContactRequest{Message: strings.Repeat("m", 4097), Profile: test.sent},
				peer.ContactRequest{Message: strings.Repeat("m", 4096), Profile: test.kept},
			},
		} {
			got, err := readOne(t, pair[0].AppendTo(nil))
			if diff := cmp.Diff(pair[1], got); diff != "" || err != nil {
				t.Errorf("error %v\n%s", err, diff)
			}
		}
	}
}

func TestTextsMustBeUTF8(t *testing.T) {
	const bad = "a\xffb"
	for name, f := range map[string]peer.Frame{
		"INFO_RESPONSE nickname":   peer.InfoResponse{Profile: peer.Profile{Nickname: bad}},
		"INFO_RESPONSE info":       peer.InfoResponse{Profile: peer.Profile{Info: bad}},
		"CONTACT_REQUEST message":  peer.ContactRequest{Message: bad},
		"CONTACT_REQUEST nickname": peer.ContactRequest{Profile: peer.Profile{Nickname: bad}},
		"CALL_OFFER MIME type":     peer.CallOffer{MIMEType: bad},
		"CALL_ANSWER error":        peer.CallAnswer{Error: bad},
		"FILE_REQUEST name":        peer.FileRequest{Name: bad},
		"FILE_REQUEST hash":        peer.FileRequest{Hash: bad},
	} {
		if got, err := peer.ReadFrame(buffered(f.AppendTo(nil)), peer.Limits{}); wire.ViolationCode(err) != wire.CodeText {
			t.Errorf("%s: %v, error %v", name, got, err)
		}
	}
}

func TestFlagsAreTrueWhenNotZero(t *testing.T) {
	for b := range 256 {
		answer := peer.CallAnswer{}.AppendTo(nil)
		answer[16] = byte(b)
		if got, err := readOne(t, answer); got != (peer.CallAnswer{Accepted: b != 0}) || err != nil {
			t.Errorf("CALL_ANSWER %d: %v, error %v", b, got, err)
		}
		response := peer.ContactResponse{}.AppendTo(nil)
		response[16] = byte(b)
		if got, err := readOne(t, response); got != (peer.ContactResponse{Accepted: b != 0}) || err != nil {
			t.Errorf("CONTACT_RESPONSE %d: %v, error %v", b, got, err)
		}
	}
}

func TestHelloTakesAnAddressBySize(t *testing.T) {
	h := peer.Hello{Version: 9, Sender: alice().Public(), Receiver: bob().Public(), ClientID: 1<<32 - 1}
	with := h
	with.Address = aliceNode()
	for _, test := range []struct {
		size int64
		want peer.Hello
	}{{-1, h}, {0, h}, {79, h}, {80, h}, {81, with}, {116, with}, {1 << 60, with}} {
		b := with.AppendTo(nil)
		copy(b[8:], wire.AppendInt64(nil, test.size))
		if got, err := peer.ReadHandshakeFrame(buffered(b)); got != test.want || err != nil {
			t.Errorf("size %d: %+v, error %v", test.size, got, err)
		}
	}
}

// fuzzBody fuzzes the bodies of a few types, seeded with those of whole frames.
func fuzzBody(f *testing.F, seeds []peer.Frame, types ...peer.FrameType) {
	for _, seed := range seeds {
		f.Add(seed.AppendTo(nil)[16:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, frameType := range types {
			b := append(peer.Unknown{Type: frameType}.AppendTo(nil), body...)
			fuzzFrame(t, b)
		}
	})
}

// Bar S01
func FuzzInfoResponse(f *testing.F) {
	fuzzBody(f, []peer.Frame{
		peer.InfoResponse{Time: 5, Profile: peer.Profile{Nickname: "Алиса", Info: "hi", Avatar: []byte{0xff, 0xd8}}}, peer.InfoResponse{},
	}, peer.FrameInfoResponse)
}

// Bar S01
func FuzzContactRequest(f *testing.F) {
	fuzzBody(f, []peer.Frame{
		peer.ContactRequest{Message: "let me in", Profile: peer.Profile{Nickname: "B", Avatar: []byte{1}}},
		peer.ContactRequest{},
		peer.ContactRequest{Message: strings.Repeat("я", 3000)},
	}, peer.FrameContactRequest, peer.FrameContactResponse)
}

// Bar S01
func FuzzCallFrames(f *testing.F) {
	fuzzBody(f, []peer.Frame{
		peer.CallOffer{MIMEType: "audio/aac", SampleRate: 44100, Channels: 1},
		peer.CallAnswer{Accepted: true, Error: "busy"},
		peer.CallPacket{Data: []byte{0x12, 0x10}},
	}, peer.FrameCallOffer, peer.FrameCallAnswer, peer.FrameCallHang, peer.FrameCallPacket)
}

// Bar S01
func FuzzHello(f *testing.F) {
	addVectors(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzHandshakeFrame(t, b)
		hello := append(peer.Unknown{Type: peer.FrameHello}.AppendTo(nil), b...)
		fuzzHandshakeFrame(t, hello)
		hello[15] = 116
		fuzzHandshakeFrame(t, hello)
		// Whatever it says, no frame of a handshake is longer than a full HELLO.
		rest := bytes.NewReader(append(hello, make([]byte, 200)...))
		src, sent := bufio.NewReader(rest), rest.Len()
		if _, err := peer.ReadHandshakeFrame(src); err == nil && sent-rest.Len()-src.Buffered() > 16+116 {
			t.Errorf("read %d bytes", sent-rest.Len()-src.Buffered())
		}
	})
}
