// SPDX-License-Identifier: MPL-2.0

package peer_test

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

// fullFrames has a frame of each type of a session with every field set.
func fullFrames() []peer.Frame {
	profile := peer.Profile{Nickname: "Алиса", Info: "info", Avatar: []byte{0xff, 0xd8}}
	return []peer.Frame{
		peer.Ping{},
		peer.Pong{},
		peer.OK{ID: math.MinInt64},
		peer.InfoRequest{Since: -1},
		peer.InfoResponse{Time: math.MaxInt64, Profile: profile},
		peer.Message{GUID: -5, ReplyTo: math.MaxInt64, SendTime: 1, EditTime: 2, Type: peer.TypeFile, Payload: []byte("payload")},
		peer.Message{GUID: 1, Type: -1},
		peer.CallOffer{MIMEType: "audio/aac", SampleRate: 44100, Channels: -1},
		peer.CallAnswer{Accepted: true, Error: "бусy"},
		peer.CallHang{},
		peer.CallPacket{Data: []byte{0x12, 0x10}},
		peer.ContactRequest{Message: "hi", Profile: profile},
		peer.ContactResponse{Accepted: true},
		peer.FileRequest{GUID: -1, Name: "a.txt", Hash: strings.Repeat("ab", 32)},
	}
}

func TestFramesSurviveTheWireInAnyChunks(t *testing.T) {
	var stream []byte
	for _, f := range fullFrames() {
		before := len(stream)
		stream = f.AppendTo(stream)
		if size := int64(len(stream) - before - 16); size != sizeField(stream[before:]) {
			t.Errorf("%s: size field %d, true size %d", f.FrameType(), sizeField(stream[before:]), size)
		}
	}
	for name, src := range map[string]*bufio.Reader{
		"at once":     bufio.NewReader(bytes.NewReader(stream)),
		"one by one":  bufio.NewReader(iotest.OneByteReader(bytes.NewReader(stream))),
		"tiny buffer": bufio.NewReaderSize(iotest.HalfReader(bytes.NewReader(stream)), 16),
	} {
		for _, want := range fullFrames() {
			got, err := peer.ReadFrame(src, peer.Limits{})
			if err != nil {
				t.Fatalf("%s, %s: %v", name, want.FrameType(), err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%s, %s: %s", name, want.FrameType(), diff)
			}
		}
		if _, err := peer.ReadFrame(src, peer.Limits{}); err != io.EOF { //nolint:errorlint // the very value is promised
			t.Errorf("%s: end of the stream gives %v", name, err)
		}
	}
}

func sizeField(frame []byte) int64 {
	c := wire.NewCursor(frame)
	c.Take("stream and type", 8)
	return c.Int64("size")
}

func TestReadFrameTellsABrokenStreamFromAnEnd(t *testing.T) {
	for _, f := range fullFrames() {
		whole := f.AppendTo(nil)
		for n := 1; n < len(whole); n++ {
			_, err := peer.ReadFrame(buffered(whole[:n]), peer.Limits{})
			if !errors.Is(err, io.ErrUnexpectedEOF) || wire.ViolationCode(err) != "" {
				t.Fatalf("%s cut to %d bytes: %v", f.FrameType(), n, err)
			}
		}
	}
	broken := errors.New("broken")
	for _, reader := range []io.Reader{iotest.ErrReader(broken), io.MultiReader(bytes.NewReader(peer.OK{}.AppendTo(nil)[:20]), iotest.ErrReader(broken))} {
		if _, err := peer.ReadFrame(bufio.NewReader(reader), peer.Limits{}); !errors.Is(err, broken) {
			t.Errorf("error %v", err)
		}
	}
}

func TestReadFrameIgnoresTheSizeOfKnownTypes(t *testing.T) {
	for _, f := range fullFrames() {
		for _, size := range []int64{0, 1, -1, math.MaxInt64, math.MinInt64} {
			b := f.AppendTo(nil)
			copy(b[8:], wire.AppendInt64(nil, size))
			copy(b, []byte{1, 2, 3, 4}) // and the stream field
			got, err := readOne(t, b)
			if diff := cmp.Diff(f, got); diff != "" || err != nil {
				t.Errorf("%s, size %d: error %v\n%s", f.FrameType(), size, err, diff)
			}
		}
	}
}

func TestReadFrameSkipsTypesNobodyKnows(t *testing.T) {
	for _, frameType := range []peer.FrameType{
		1, 2, 3, 4, 5, // those of the handshake, too
		0, -1, 10, 1001, 4001, 7777, math.MaxInt32, math.MinInt32,
	} {
		for _, size := range []int64{math.MinInt64, -1, 0, 1, 5000, wire.MaxSkip - 1, wire.MaxSkip} {
			b := peer.Unknown{Type: frameType}.AppendTo(nil)
			copy(b[8:], wire.AppendInt64(nil, size))
			b = append(b, make([]byte, max(size, 0))...)
			src := buffered(peer.Pong{}.AppendTo(b))
			if got, err := peer.ReadFrame(src, peer.Limits{}); got != (peer.Unknown{Type: frameType, Size: size}) || err != nil {
				t.Errorf("type %d, size %d: %v, error %v", frameType, size, got, err)
			}
			if got, err := peer.ReadFrame(src, peer.Limits{}); got != (peer.Pong{}) || err != nil {
				t.Errorf("type %d, size %d: out of step, %v, error %v", frameType, size, got, err)
			}
		}
	}
	if got := (peer.FrameType(7777)).String(); got != "UNKNOWN" {
		t.Errorf("name %q", got)
	}
}

func TestFrameTypesHaveNames(t *testing.T) {
	seen := make(map[string]bool)
	for _, f := range everyFrame() {
		name := f.FrameType().String()
		if _, unknown := f.(peer.Unknown); unknown != (name == "UNKNOWN") {
			t.Errorf("%T is called %q", f, name)
		} else if !unknown && seen[name] {
			t.Errorf("%q repeats", name)
		}
		seen[name] = true
	}
}

func TestReadRoleRefusesOthers(t *testing.T) {
	for b := 2; b < 256; b++ {
		if _, err := peer.ReadRole(buffered([]byte{byte(b)})); wire.ViolationCode(err) != wire.CodeCommand {
			t.Errorf("role %d: %v", b, err)
		}
	}
	if _, err := peer.ReadRole(buffered(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("error %v", err)
	}
}

// lengthField is one length in a frame: everything before it, and its limit.
type lengthField struct {
	name   string
	before []byte
	limit  int64
	// wide is a length of 8 bytes.
	wide bool
	// keep is what of limit the reader keeps in memory.
	keep int64
}

func lengthFields() []lengthField {
	head := func(t peer.FrameType, parts ...[]byte) []byte {
		return append(peer.Unknown{Type: t}.AppendTo(nil), bytes.Join(parts, nil)...)
	}
	empty := make([]byte, 4)
	return []lengthField{
		{"unknown, size", head(7777)[:8], wire.MaxSkip, true, 0},
		{"INFO_RESPONSE, nickname", head(peer.FrameInfoResponse, make([]byte, 8)), wire.MaxProfileText, false, wire.MaxProfileText},
		{"INFO_RESPONSE, info", head(peer.FrameInfoResponse, make([]byte, 8), empty), wire.MaxProfileText, false, wire.MaxProfileText},
		{"INFO_RESPONSE, avatar", head(peer.FrameInfoResponse, make([]byte, 8), empty, empty), wire.MaxSkip, false, wire.MaxAvatar},
		{"MESSAGE, header", head(peer.FrameMessage), wire.MaxJSON, false, wire.MaxJSON},
		{"CALL_OFFER, MIME type", head(peer.FrameCallOffer), wire.MaxMIMEType, false, wire.MaxMIMEType},
		{"CALL_ANSWER, error", head(peer.FrameCallAnswer, []byte{1}), wire.MaxCallError, false, wire.MaxCallError},
		{"CALL_PACKET", head(peer.FrameCallPacket), wire.MaxCallPacket, false, wire.MaxCallPacket},
		{"CONTACT_REQUEST, message", head(peer.FrameContactRequest), wire.MaxProfileText, false, wire.MaxProfileText},
		{"CONTACT_REQUEST, nickname", head(peer.FrameContactRequest, empty), wire.MaxProfileText, false, wire.MaxProfileText},
		{"CONTACT_REQUEST, info", head(peer.FrameContactRequest, empty, empty), wire.MaxProfileText, false, wire.MaxProfileText},
		{"CONTACT_REQUEST, avatar", head(peer.FrameContactRequest, empty, empty, empty), wire.MaxSkip, false, wire.MaxAvatar},
		{"FILE_REQUEST, name", head(peer.FrameFileRequest, make([]byte, 8)), wire.MaxFileName, false, wire.MaxFileName},
		{"FILE_REQUEST, hash", head(peer.FrameFileRequest, make([]byte, 8), empty), wire.MaxHashText, false, wire.MaxHashText},
	}
}

func (l lengthField) with(n int64) []byte {
	if l.wide {
		return wire.AppendInt64(bytes.Clone(l.before), n)
	}
	return wire.AppendInt32(bytes.Clone(l.before), int32(n))
}

// Only the length is sent, then nothing more comes.
//
// Bar S02
func TestReadFrame_LengthAlone_NoMemory(t *testing.T) {
	for _, l := range lengthFields() {
		bad := []int64{-1, l.limit + 1, math.MaxInt32, math.MinInt32}
		if l.wide {
			bad = []int64{l.limit + 1, math.MaxInt32, math.MaxInt64}
		}
		for _, n := range bad {
			t.Run(fmt.Sprintf("%s %d", l.name, n), func(t *testing.T) {
				b, src := l.with(n), buffered(nil)
				if _, err := peer.ReadFrame(buffered(b), peer.Limits{}); wire.ViolationCode(err) != wire.CodeLength {
					t.Errorf("error %v", err)
				}
				wiretest.CheckAllocation(t, 0, func() {
					src.Reset(bytes.NewReader(b))
					_, _ = peer.ReadFrame(src, peer.Limits{})
				})
			})
		}
		for _, n := range []int64{l.limit - 1, l.limit} {
			t.Run(fmt.Sprintf("%s %d", l.name, n), func(t *testing.T) {
				b, src := l.with(n), buffered(nil)
				if _, err := peer.ReadFrame(buffered(b), peer.Limits{}); !errors.Is(err, io.ErrUnexpectedEOF) {
					t.Errorf("error %v", err)
				}
				wiretest.CheckAllocation(t, 0, func() {
					src.Reset(bytes.NewReader(b))
					_, _ = peer.ReadFrame(src, peer.Limits{})
				})
			})
		}
	}
}

// Bar S03
func TestLengthsAreTakenUpToTheirLimit(t *testing.T) {
	rest := make([]byte, 64) // zeros: empty fields, and zero integers
	for _, l := range lengthFields() {
		if l.name == "MESSAGE, header" {
			continue // must be JSON; see TestMessageHeaderLimit
		}
		for _, n := range []int64{0, 1, l.keep, l.limit - 1, l.limit} {
			b := append(append(l.with(n), bytes.Repeat([]byte("a"), int(n))...), rest...)
			if _, err := peer.ReadFrame(buffered(b), peer.Limits{}); err != nil {
				t.Errorf("%s %d: %v", l.name, n, err)
			}
		}
	}
}

// Bar S01
func FuzzPeerFrame(f *testing.F) {
	addVectors(f)
	for _, frame := range fullFrames() {
		f.Add(frame.AppendTo(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		fuzzFrame(t, b)
		fuzzHandshakeFrame(t, b)
	})
}

// fuzzFrame checks one input: no violation without a code, a bounded cost, and
// that what decodes is written and read as the same.
func fuzzFrame(t *testing.T, b []byte) {
	t.Helper()
	src := buffered(nil)
	wiretest.CheckAllocationSampled(t, b, func() {
		src.Reset(bytes.NewReader(b))
		_, _ = peer.ReadFrame(src, peer.Limits{})
	})
	got, err := peer.ReadFrame(buffered(b), peer.Limits{})
	if checkDecodeError(t, err) {
		return
	}
	if unknown, ok := got.(peer.Unknown); ok {
		if unknown.Size > wire.MaxSkip {
			t.Errorf("skipped %d", unknown.Size)
		}
		return
	}
	again, err := readOne(t, got.AppendTo(nil))
	if diff := cmp.Diff(got, again); diff != "" || err != nil {
		t.Errorf("%s: error %v\n%s", got.FrameType(), err, diff)
	}
}

func fuzzHandshakeFrame(t *testing.T, b []byte) {
	t.Helper()
	got, err := peer.ReadHandshakeFrame(buffered(b))
	if checkDecodeError(t, err) {
		return
	}
	again, err := peer.ReadHandshakeFrame(buffered(got.AppendTo(nil)))
	if again != got || err != nil {
		t.Errorf("%+v reads as %+v, error %v", got, again, err)
	}
}

// checkDecodeError reports whether there is an error, which must be one of those
// that are promised, and short.
func checkDecodeError(t *testing.T, err error) bool {
	t.Helper()
	if err == nil {
		return false
	}
	if wire.ViolationCode(err) == "" && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
	if len(err.Error()) > 300 {
		t.Errorf("error text of %d bytes", len(err.Error()))
	}
	return true
}
