// SPDX-License-Identifier: MPL-2.0

package wire_test

import (
	"bytes"
	"errors"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/mimird/mimird/proto/wire"
)

func TestCursorReadsEveryKindOfField(t *testing.T) {
	b := []byte{7}
	b = wire.AppendUint32(b, math.MaxUint32)
	b = wire.AppendUint64(b, math.MaxUint64)
	b = wire.AppendInt32(b, math.MinInt32)
	b = wire.AppendInt64(b, math.MinInt64)
	b = wire.AppendBlob(b, []byte{1, 2})
	b = wire.AppendBlob(b, "текст")
	b = wire.AppendBool(wire.AppendBool(b, true), false)
	b = wire.AppendShortText(b, "коротко")
	b = append(b, 0xff, 0xfe)
	b = append(b, "abcrest"...)

	c := wire.NewCursor(b)
	if c.Uint8("a") != 7 || c.Uint32("b") != math.MaxUint32 || c.Uint64("c") != math.MaxUint64 ||
		c.Int32("d") != math.MinInt32 || c.Int64("e") != math.MinInt64 {
		t.Error("integers differ")
	}
	if got := c.Blob("f", 2); !bytes.Equal(got, []byte{1, 2}) {
		t.Errorf("blob %x", got)
	}
	if got := c.Text("g", 10); got != "текст" {
		t.Errorf("text %q", got)
	}
	if c.Uint8("h") != 1 || c.Uint8("i") != 0 {
		t.Error("flags differ")
	}
	if got := c.ShortText("j", 20); got != "коротко" {
		t.Errorf("short text %q", got)
	}
	if got := c.Uint16("k"); got != 0xfffe {
		t.Errorf("%x", got)
	}
	var fixed [3]byte
	c.Fixed("l", fixed[:])
	if string(fixed[:]) != "abc" || c.Remaining() != 4 {
		t.Errorf("fixed %q, %d left", fixed, c.Remaining())
	}
	if got := c.Rest(); string(got) != "rest" {
		t.Errorf("rest %q", got)
	}
	if err := c.End(); err != nil {
		t.Error(err)
	}
}

func TestCursorKeepsItsFirstError(t *testing.T) {
	c := wire.NewCursor([]byte{0, 0, 0, 9, 1, 2})
	if got := c.Blob("first", 100); got != nil {
		t.Errorf("blob %x", got)
	}
	first := c.Err()
	if wire.ViolationCode(first) != wire.CodeTruncated {
		t.Fatalf("error %v", first)
	}
	if c.Uint8("x") != 0 || c.Uint16("x") != 0 || c.ShortText("x", 1) != "" || c.Uint32("x") != 0 || c.Uint64("x") != 0 || c.Blob("x", 1) != nil || c.Text("x", 1) != "" || c.Rest() != nil {
		t.Error("a value after an error")
	}
	dst := []byte{9}
	c.Fixed("x", dst)
	c.Fail(errors.New("later"))
	if !errors.Is(c.Err(), first) || !errors.Is(c.End(), first) {
		t.Error("the first error was replaced")
	}
}

func TestCursorRefusesWhatIsLeftOver(t *testing.T) {
	c := wire.NewCursor([]byte{1, 2})
	c.Uint8("a")
	if code := wire.ViolationCode(c.End()); code != wire.CodeTrailing {
		t.Errorf("code %q", code)
	}
}

func TestCursorRefusesTextThatIsNotUTF8(t *testing.T) {
	c := wire.NewCursor(wire.AppendBlob(nil, "\xff"))
	if c.Text("a", 10) != "" || wire.ViolationCode(c.Err()) != wire.CodeText {
		t.Errorf("error %v", c.Err())
	}
}

func TestShortTexts(t *testing.T) {
	for _, test := range []struct {
		b    []byte
		code string
	}{
		{[]byte{0, 2, 'a', 'b'}, ""},
		{[]byte{0, 3, 'a', 'b', 'c'}, wire.CodeLength},
		{[]byte{0, 2, 'a'}, wire.CodeTruncated},
		{[]byte{0}, wire.CodeTruncated},
		{[]byte{0, 1, 0xff}, wire.CodeText},
	} {
		c := wire.NewCursor(test.b)
		if got := c.ShortText("a", 2); wire.ViolationCode(c.Err()) != test.code || (test.code != "") != (got == "") {
			t.Errorf("%x: %q, %v", test.b, got, c.Err())
		}
	}
	long := wire.AppendShortText(nil, strings.Repeat("я", 1<<16))
	if c := wire.NewCursor(long); len(c.ShortText("a", 1<<16)) != 1<<16-2 || c.End() != nil {
		t.Errorf("%d bytes, %v", len(long), c.Err())
	}
}

// Bar S02
// Bar S03
func TestCursorHoldsTheLimitOfALength(t *testing.T) {
	const limit = 8
	for _, test := range []struct {
		length int32
		code   string
	}{
		{0, ""},
		{limit - 1, ""},
		{limit, ""},
		{limit + 1, wire.CodeLength},
		{-1, wire.CodeLength},
		{math.MaxInt32, wire.CodeLength},
		{math.MinInt32, wire.CodeLength},
	} {
		t.Run(strconv.Itoa(int(test.length)), func(t *testing.T) {
			b := append(wire.AppendInt32(nil, test.length), make([]byte, limit+1)...)
			c := wire.NewCursor(b)
			got := c.Blob("a", limit)
			if code := wire.ViolationCode(c.Err()); code != test.code {
				t.Fatalf("code %q, want %q", code, test.code)
			}
			if test.code == "" && len(got) != int(test.length) {
				t.Errorf("%d bytes", len(got))
			}
		})
	}
}
