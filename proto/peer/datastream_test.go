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

// Bar S02
// Bar S03
func TestDataHeaderLimit(t *testing.T) {
	for _, test := range []struct {
		limit, size int64
		code        string
	}{
		{100, 0, ""},
		{100, 99, ""},
		{100, 100, ""},
		{100, 101, wire.CodeLength},
		{100, -1, wire.CodeLength},
		{100, math.MaxInt64, wire.CodeLength},
		{100, math.MinInt64, wire.CodeLength},
		{math.MaxInt64, wire.MaxDataSize - 1, ""},
		{math.MaxInt64, wire.MaxDataSize, ""},
		{math.MaxInt64, wire.MaxDataSize + 1, wire.CodeLength},
	} {
		want := peer.DataHeader{GUID: -1, ReplyTo: math.MaxInt64, SendTime: 3, EditTime: 4, Type: -5, Size: test.size}
		got, err := peer.ReadDataHeader(buffered(want.AppendTo(nil)), test.limit)
		if wire.ViolationCode(err) != test.code || test.code == "" && got != want {
			t.Errorf("limit %d, size %d: %+v, error %v", test.limit, test.size, got, err)
		}
	}
}

func TestDataHeaderTellsABrokenStreamFromAnEnd(t *testing.T) {
	b := peer.DataHeader{GUID: 1}.AppendTo(nil)
	if len(b) != peer.DataHeaderSize {
		t.Errorf("%d bytes", len(b))
	}
	for n := range b {
		_, err := peer.ReadDataHeader(buffered(b[:n]), 100)
		if want := map[bool]error{true: io.EOF, false: io.ErrUnexpectedEOF}[n == 0]; !errors.Is(err, want) {
			t.Errorf("%d bytes: %v", n, err)
		}
	}
}

func TestDataHeaderAndMessageAreTheSame(t *testing.T) {
	want := peer.Message{GUID: 1, ReplyTo: 2, SendTime: 3, EditTime: 4, Type: 5, Payload: []byte("abc")}
	if diff := cmp.Diff(want, want.DataHeader().Message(want.Payload)); diff != "" {
		t.Error(diff)
	}
}

func metaWith(length int64, json string) []byte {
	return append(wire.AppendUint32(nil, uint32(length)), json...)
}

// Bar S02
// Bar S03
func TestFileMetaFitsIntoItsData(t *testing.T) {
	const json = `{"name":"a.txt","size":5,"hash":"00"}`
	long := `{"x":"` + strings.Repeat("x", wire.MaxJSON-8) + `"}`
	for _, test := range []struct {
		name     string
		data     []byte
		dataSize int64
		fileSize int64
		code     string
	}{
		{"a file", metaWith(int64(len(json)), json), int64(4+len(json)) + 5, 5, ""},
		{"an empty file", metaWith(int64(len(json)), json), int64(4 + len(json)), 0, ""},
		{"a large file", metaWith(int64(len(json)), json), wire.MaxDataSize, wire.MaxDataSize - 4 - int64(len(json)), ""},
		{"one byte longer than its data", metaWith(int64(len(json)), json), int64(4+len(json)) - 1, 0, wire.CodeLength},
		{"no room for a length", metaWith(0, ""), 3, 0, wire.CodeTruncated},
		{"no data", nil, 0, 0, wire.CodeTruncated},
		{"negative data", nil, -1, 0, wire.CodeTruncated},
		{"nothing described", metaWith(0, ""), 4, 0, wire.CodeJSON},
		{"meta at its limit", metaWith(wire.MaxJSON, long), 1 << 20, 1<<20 - 4 - wire.MaxJSON, ""},
		{"meta above its limit", metaWith(wire.MaxJSON+1, long+" "), 1 << 20, 0, wire.CodeLength},
		{"a length of 2^31", metaWith(1<<31, json), 1 << 20, 0, wire.CodeLength},
		{"a length of 2^32-1", metaWith(1<<32-1, json), 1 << 20, 0, wire.CodeLength},
		{"not JSON", metaWith(5, "hello"), 100, 0, wire.CodeJSON},
		{"a long name", metaWith(1100, `{"name":"`+strings.Repeat("n", 1100-11)+`"}`), 2000, 0, wire.CodeLength},
		{"a long hash", metaWith(200, `{"hash":"`+strings.Repeat("0", 200-11)+`"}`), 2000, 0, wire.CodeLength},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, size, err := peer.ReadFileMeta(buffered(test.data), test.dataSize)
			if wire.ViolationCode(err) != test.code || (err == nil) != (test.code == "") || size != test.fileSize {
				t.Errorf("%d bytes of file, error %v", size, err)
			}
			src := buffered(nil)
			wiretest.CheckAllocation(t, len(test.data), func() {
				src.Reset(bytes.NewReader(test.data))
				_, _, _ = peer.ReadFileMeta(src, test.dataSize)
			})
		})
	}
	if _, _, err := peer.ReadFileMeta(buffered(metaWith(50, `{"name":`)), 100); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("error %v", err)
	}
}

func TestReactions(t *testing.T) {
	for _, want := range []peer.Reaction{{Emoji: "🔥", Target: -1234567890123456789}, {Emoji: "", Target: 1}, {Emoji: `a"b<`, Target: math.MaxInt64}} {
		if got, err := peer.ParseReaction(want.AppendTo(nil)); got != want || err != nil {
			t.Errorf("%+v, error %v", got, err)
		}
	}
	if got := string(peer.Reaction{Emoji: "🔥", Target: -1234567890123456789}.AppendTo(nil)); got != `{"emoji":"🔥","replyTo":-1234567890123456789}` {
		t.Errorf("written as %s", got)
	}
	for payload, code := range map[string]string{
		``:                                     wire.CodeJSON,
		`[]`:                                   wire.CodeJSON,
		`{"emoji":"x"}`:                        wire.CodeMissing,
		`{"emoji":"x","replyTo":0}`:            wire.CodeMissing,
		`{"emoji":"x","replyTo":"5"}`:          wire.CodeMissing,
		`{"replyTo":5}`:                        "",
		`{"emoji":5,"replyTo":5}`:              "",
		`{"emoji":"\ud83d\udd25","replyTo":5}`: "",
		fmt.Sprintf(`{"emoji":"%s","replyTo":5}`, strings.Repeat("x", 127)):          "",
		fmt.Sprintf(`{"emoji":"%s","replyTo":5}`, strings.Repeat("x", 128)):          "",
		fmt.Sprintf(`{"emoji":"%s","replyTo":5}`, strings.Repeat("x", 129)):          wire.CodeLength,
		fmt.Sprintf(`{"emoji":"%s","replyTo":5}`, strings.Repeat("x", wire.MaxJSON)): wire.CodeLength,
	} {
		if got, err := peer.ParseReaction([]byte(payload)); wire.ViolationCode(err) != code {
			t.Errorf("%.50s: %+v, error %v", payload, got, err)
		}
	}
}

// Bar S01
func FuzzDataStreamHeader(f *testing.F) {
	addVectors(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		src := buffered(nil)
		wiretest.CheckAllocationSampled(t, b, func() {
			src.Reset(bytes.NewReader(b))
			_, _ = peer.ReadDataHeader(src, wire.MaxDataSize)
		})
		h, err := peer.ReadDataHeader(buffered(b), wire.MaxDataSize)
		if checkDecodeError(t, err) {
			return
		}
		if h.Size < 0 || h.Size > wire.MaxDataSize || !bytes.Equal(h.AppendTo(nil), b[:peer.DataHeaderSize]) {
			t.Errorf("%+v", h)
		}
	})
}

// Bar S01
func FuzzFileMeta(f *testing.F) {
	for _, v := range wiretest.Load(f, vectors) {
		if v.Inputs["meta"] != nil {
			f.Add(wire.AppendBlob(nil, v.Text("meta")), int64(1000))
		}
	}
	f.Fuzz(func(t *testing.T, b []byte, dataSize int64) {
		src := buffered(nil)
		wiretest.CheckAllocationSampled(t, b, func() {
			src.Reset(bytes.NewReader(b))
			_, _, _ = peer.ReadFileMeta(src, dataSize)
		})
		meta, size, err := peer.ReadFileMeta(buffered(b), dataSize)
		if checkDecodeError(t, err) {
			return
		}
		if size < 0 || size > dataSize-4 {
			t.Errorf("%d of %d bytes", size, dataSize)
		}
		again := meta.AppendTo(nil)
		got, size, err := peer.ReadFileMeta(buffered(again), int64(len(again)))
		if got != meta || size != 0 || err != nil {
			t.Errorf("%+v reads as %+v, error %v", meta, got, err)
		}
	})
}
