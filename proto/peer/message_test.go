// SPDX-License-Identifier: MPL-2.0

package peer_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

// messageWith makes a MESSAGE frame of a JSON header and what follows it.
func messageWith(json string, payload []byte) []byte {
	b := peer.Unknown{Type: peer.FrameMessage}.AppendTo(nil)
	return append(wire.AppendBlob(b, json), payload...)
}

func TestMessageHeaderIsReadLiberally(t *testing.T) {
	for _, test := range []struct {
		json string
		want peer.Message
	}{
		{`{}`, peer.Message{}},
		{` { "type" : 3 , "guid" : 1 } `, peer.Message{GUID: 1, Type: 3}},
		{`{"sendTime":2,"replyTo":-9223372036854775808,"guid":1,"editTime":7,"type":10}`, peer.Message{GUID: 1, ReplyTo: math.MinInt64, SendTime: 2, EditTime: 7, Type: 10}},
		{`{"guid":1,"x":{"guid":2,"y":[{"guid":3}]},"z":"\"guid\":4"}`, peer.Message{GUID: 1}},
		{`{"guid":1,"guid":2}`, peer.Message{GUID: 2}},
		{`{"guid":1,"guid":"x"}`, peer.Message{}},
		{`{"GUID":1}`, peer.Message{}},
		{`{"guid":1.5,"sendTime":"2","type":9223372036854775808,"replyTo":1e3,"editTime":true}`, peer.Message{}},
		{`{"guid":9007199254740993}`, peer.Message{GUID: 9007199254740993}}, // not a double
		{`{"type":4294967299}`, peer.Message{Type: 3}},
		{`{"payloadSize":0}`, peer.Message{}},
		{`{"payloadSize":1.0}`, peer.Message{}},
		{`{"payloadSize":"9"}`, peer.Message{}},
	} {
		got, err := readOne(t, messageWith(test.json, nil))
		if diff := cmp.Diff(test.want, got); diff != "" || err != nil {
			t.Errorf("%s: error %v\n%s", test.json, err, diff)
		}
	}
}

// Bar S15
func TestMessageHeader_NotAnObject_Rejected(t *testing.T) {
	for _, json := range []string{
		``, `null`, `[]`, `1`, `"x"`, `{`, `{"guid":1}x`, `{"guid":01}`, `{'guid':1}`, `{"guid":1,}`, "{\"a\":\"\xff\"}",
		strings.Repeat("[", 10000), `{"a":` + strings.Repeat("[", 40) + strings.Repeat("]", 40) + `}`,
	} {
		if got, err := peer.ReadFrame(buffered(messageWith(json, nil)), peer.Limits{}); wire.ViolationCode(err) != wire.CodeJSON {
			t.Errorf("%.40q: %v, error %v", json, got, err)
		}
	}
}

// Bar S03
func TestMessageHeaderLimit(t *testing.T) {
	for _, test := range []struct {
		size int
		code string
	}{{wire.MaxJSON - 1, ""}, {wire.MaxJSON, ""}, {wire.MaxJSON + 1, wire.CodeLength}} {
		json := `{"guid":1,"x":"` + strings.Repeat("x", test.size-len(`{"guid":1,"x":""}`)) + `"}`
		_, err := peer.ReadFrame(buffered(messageWith(json, nil)), peer.Limits{})
		if wire.ViolationCode(err) != test.code {
			t.Errorf("%d bytes: %v", test.size, err)
		}
	}
}

// Bar S02
// Bar S03
func TestMessagePayloadLimit(t *testing.T) {
	for _, test := range []struct {
		limits peer.Limits
		size   int64
		code   string
	}{
		{peer.Limits{}, wire.MaxControlPayload - 1, ""},
		{peer.Limits{}, wire.MaxControlPayload, ""},
		{peer.Limits{}, wire.MaxControlPayload + 1, wire.CodeLength},
		{peer.Limits{}, -1, wire.CodeLength},
		{peer.Limits{}, math.MaxInt32, wire.CodeLength},
		{peer.Limits{}, math.MaxInt64, wire.CodeLength},
		{peer.Limits{}, math.MinInt64, wire.CodeLength},
		{peer.Limits{Payload: 10}, 9, ""},
		{peer.Limits{Payload: 10}, 10, ""},
		{peer.Limits{Payload: 10}, 11, wire.CodeLength},
	} {
		t.Run(fmt.Sprint(test.limits.Payload, test.size), func(t *testing.T) {
			head := messageWith(fmt.Sprintf(`{"guid":1,"payloadSize":%d}`, test.size), nil)
			src := buffered(nil)
			wiretest.CheckAllocation(t, 0, func() { // nothing of the payload arrives
				src.Reset(bytes.NewReader(head))
				_, err := peer.ReadFrame(src, test.limits)
				if test.code == "" && !errors.Is(err, io.ErrUnexpectedEOF) || wire.ViolationCode(err) != test.code {
					t.Errorf("error %v", err)
				}
			})
			if test.code != "" {
				return
			}
			payload := bytes.Repeat([]byte{7}, int(test.size))
			b := append(head, payload...)
			wiretest.CheckAllocation(t, len(b), func() {
				src.Reset(bytes.NewReader(b))
				f, err := peer.ReadFrame(src, test.limits)
				if err != nil {
					t.Fatal(err)
				}
				if got := f.(peer.Message).Payload; !bytes.Equal(got, payload) {
					t.Errorf("%d bytes of payload", len(got))
				}
			})
		})
	}
}

func TestLimitOfSkippedFramesIsTheCallers(t *testing.T) {
	b := peer.CallPacket{Data: make([]byte, 7)}.AppendTo(nil) // 11 bytes of body
	copy(b[4:], wire.AppendInt32(nil, 7777))
	for limit, code := range map[int]string{10: wire.CodeLength, 11: "", 12: ""} {
		if _, err := peer.ReadFrame(buffered(b), peer.Limits{Skip: limit}); wire.ViolationCode(err) != code {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
}

func TestNormalizeSendTime(t *testing.T) {
	for in, want := range map[int64]int64{
		0: 0, -1: -1, math.MinInt64: math.MinInt64, 1: 1000, 1767225600: 1767225600000, 1e11 - 1: (1e11 - 1) * 1000, 1e11: 1e11,
		1767225600123: 1767225600123, math.MaxInt64: math.MaxInt64,
	} {
		if got := peer.NormalizeSendTime(in); got != want {
			t.Errorf("%d: %d, want %d", in, got, want)
		}
	}
}

func TestDeriveGUID(t *testing.T) {
	parts := func(s ...string) peer.GUID {
		var b [][]byte
		for _, p := range s {
			b = append(b, []byte(p))
		}
		return peer.DeriveGUID(b...)
	}
	seen := make(map[peer.GUID]string)
	for _, p := range [][]string{nil, {""}, {"", ""}, {"ab"}, {"a", "b"}, {"", "ab"}, {"ab", ""}, {"$event:server"}} {
		g := parts(p...)
		if other, ok := seen[g]; ok || g == 0 || g != parts(p...) {
			t.Errorf("%q gives %d, as does %q", p, g, other)
		}
		seen[g] = fmt.Sprint(p)
	}
	// Must never change: the guids of sent messages are derived again after a
	// restart. Computed with another program.
	if got := parts("$event:server"); got != -2477112157569413027 {
		t.Errorf("guid %d", got)
	}
	if peer.GUID(-5).String() != "-5" {
		t.Error("text form")
	}
}

// Bar S01
// Bar S15
func FuzzMessageEnvelope(f *testing.F) {
	for _, v := range wiretest.Load(f, vectors) {
		if v.Inputs["json"] != nil {
			f.Add([]byte(v.Text("json")), []byte(v.Text("payload")))
		}
	}
	f.Add([]byte(`{"guid":9223372036854775807,"sendTime":1.5,"type":"1"}`), []byte(nil))
	f.Fuzz(func(t *testing.T, json, payload []byte) { fuzzFrame(t, messageWith(string(json), payload)) })
}
