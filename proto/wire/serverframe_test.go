// SPDX-License-Identifier: MPL-2.0

package wire_test

import (
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/mimird/mimird/proto/wire"
)

func serverFrame(payload string) []byte {
	b, start := wire.AppendServerFrame([]byte("before"), 3, 0x0102)
	return wire.FinishServerFrame(append(b, payload...), start)[len("before"):]
}

func TestServerFramesAreReadAsTheyAreWritten(t *testing.T) {
	r := reader(append(serverFrame("payload"), serverFrame("")...))
	if first, id, payload := r.ServerFrame("request", 7); first != 3 || id != 0x0102 || string(payload) != "payload" || r.Err() != nil {
		t.Errorf("%d %x %q, %v", first, id, payload, r.Err())
	}
	if first, id, payload := r.ServerFrame("request", 0); first != 3 || id != 0x0102 || payload != nil || r.Err() != nil {
		t.Errorf("%d %x %q, %v", first, id, payload, r.Err())
	}
	if r.ServerFrame("request", 7); !errors.Is(r.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("at the end: %v", r.Err())
	}
}

func TestServerFramesAreBounded(t *testing.T) {
	r := reader(serverFrame("payload"))
	if first, id, payload := r.ServerFrame("request", 6); payload != nil || wire.ViolationCode(r.Err()) != wire.CodeLength {
		t.Errorf("%d %x %q, %v", first, id, payload, r.Err())
	}
	r = reader(serverFrame("payload")[:9])
	if r.ServerFrame("request", 7); !errors.Is(r.Err(), io.ErrUnexpectedEOF) {
		t.Errorf("cut: %v", r.Err())
	}
	r = reader(nil)
	if r.ServerFrame("request", 7); !errors.Is(r.Err(), io.EOF) {
		t.Errorf("nothing: %v", r.Err())
	}
}

func TestRefusals_TextSanitized(t *testing.T) {
	for text, want := range map[string]string{
		"":                               "",
		"not a member":                   "not a member",
		"two\nlines\x1b[1m\x7f":          "twolines[1m",
		"no \xff\xfetext":                "no text",
		strings.Repeat("x", 1000):        strings.Repeat("x", 256),
		strings.Repeat("x", 255) + "яяя": strings.Repeat("x", 255),
	} {
		if got := wire.Refusal(wire.AppendShortText(nil, text)); got != want {
			t.Errorf("%q becomes %q", text, got)
		}
	}
	for payload, want := range map[string]string{"": "", "\x00": "", "\x00\x09text": "text", "\x00\x02text": "te"} {
		if got := wire.Refusal([]byte(payload)); got != want {
			t.Errorf("%x becomes %q", payload, got)
		}
	}
}
