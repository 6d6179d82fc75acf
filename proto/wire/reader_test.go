// SPDX-License-Identifier: MPL-2.0

package wire_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"math"
	"strconv"
	"testing"
	"testing/iotest"
	"unicode/utf8"

	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

func reader(b []byte) *wire.Reader { return wire.NewReader(bufio.NewReader(bytes.NewReader(b))) }

func TestReaderReadsEveryKindOfField(t *testing.T) {
	b := []byte{7}
	b = wire.AppendInt32(b, math.MinInt32)
	b = wire.AppendInt64(b, math.MinInt64)
	b = wire.AppendBlob(b, []byte{1, 2})
	b = wire.AppendBlob(b, "текст")
	b = wire.AppendBlob(b, "xyz")
	b = append(b, "skipheadabc"...)

	// One byte at a time: the chunks of a stream must not matter.
	r := wire.NewReader(bufio.NewReader(iotest.OneByteReader(bytes.NewReader(b))))
	if r.Uint8() != 7 || r.Int32() != math.MinInt32 || r.Int64() != math.MinInt64 {
		t.Error("integers differ")
	}
	if got := r.Blob("blob", 2); !bytes.Equal(got, []byte{1, 2}) {
		t.Errorf("blob %x", got)
	}
	if got := r.Text("text", 10); got != "текст" {
		t.Errorf("text %q", got)
	}
	var fixed [3]byte
	r.FixedBlob("fixed", fixed[:])
	if string(fixed[:]) != "xyz" {
		t.Errorf("fixed blob %q", fixed)
	}
	r.Skip("skip", 4, 4)
	if got := r.Header(4); string(got) != "head" {
		t.Errorf("header %q", got)
	}
	r.Fixed(fixed[:])
	if string(fixed[:]) != "abc" || r.Err() != nil {
		t.Errorf("fixed %q, error %v", fixed, r.Err())
	}
	if r.Bytes("none", 0, 0) != nil || r.Err() != nil {
		t.Error("no bytes are not nil")
	}
}

func TestReaderTellsAnEndBetweenFramesFromOneInside(t *testing.T) {
	for _, test := range []struct {
		name  string
		input []byte
		read  func(*wire.Reader)
		want  error
	}{
		{"nothing, then an integer", nil, func(r *wire.Reader) { r.Uint32() }, io.EOF},
		{"nothing, then fixed bytes", nil, func(r *wire.Reader) { r.Fixed(make([]byte, 4)) }, io.EOF},
		{"nothing, then a skip", nil, func(r *wire.Reader) { r.Skip("a", 4, 4) }, io.EOF},
		{"half an integer", []byte{1, 2}, func(r *wire.Reader) { r.Uint32() }, io.ErrUnexpectedEOF},
		{"half of fixed bytes", []byte{1, 2}, func(r *wire.Reader) { r.Fixed(make([]byte, 4)) }, io.ErrUnexpectedEOF},
		{"half a skip", []byte{1, 2}, func(r *wire.Reader) { r.Skip("a", 4, 4) }, io.ErrUnexpectedEOF},
		{"an end after a field", []byte{1}, func(r *wire.Reader) { r.Uint8(); r.Uint8() }, io.ErrUnexpectedEOF},
		{"a blob without its bytes", []byte{0, 0, 0, 3}, func(r *wire.Reader) { r.Blob("a", 3) }, io.ErrUnexpectedEOF},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := reader(test.input)
			test.read(r)
			if r.Err() != test.want { //nolint:errorlint // the very value is promised
				t.Errorf("error %v, want %v", r.Err(), test.want)
			}
		})
	}
}

func TestReaderPassesErrorsOfTheStreamOn(t *testing.T) {
	broken := errors.New("broken")
	r := wire.NewReader(bufio.NewReader(io.MultiReader(bytes.NewReader([]byte{0, 0}), iotest.ErrReader(broken))))
	r.Uint32()
	if !errors.Is(r.Err(), broken) {
		t.Errorf("error %v", r.Err())
	}
}

func TestReaderKeepsItsFirstError(t *testing.T) {
	r := reader(append(wire.AppendInt32(nil, -1), 1, 2, 3, 4, 5, 6, 7, 8))
	r.Blob("first", 100)
	first := r.Err()
	r.Fail(errors.New("later"))
	dst := []byte{9}
	r.Fixed(dst)
	r.FixedBlob("x", dst)
	r.Skip("x", 1, 1)
	if r.Uint8() != 0 || r.Uint32() != 0 || r.Uint64() != 0 || r.Blob("x", 1) != nil || r.Text("x", 1) != "" ||
		r.CutText("x", 1, 1) != "" || r.BlobOrSkip("x", 1, 1) != nil || r.Header(1) != nil {
		t.Error("a value after an error")
	}
	if !errors.Is(r.Err(), first) || wire.ViolationCode(first) != wire.CodeLength {
		t.Errorf("error %v, first %v", r.Err(), first)
	}
	r = reader(nil)
	own := errors.New("own")
	r.Fail(own)
	if r.Err() != own { //nolint:errorlint // the very value is promised
		t.Errorf("error %v", r.Err())
	}
}

func TestReaderRefusesTextThatIsNotUTF8(t *testing.T) {
	r := reader(wire.AppendBlob(nil, "a\xff"))
	if r.Text("a", 10) != "" || wire.ViolationCode(r.Err()) != wire.CodeText {
		t.Errorf("error %v", r.Err())
	}
}

func TestReaderWantsFixedBlobsOfTheirSize(t *testing.T) {
	for _, length := range []int32{-1, 0, 31, 33, math.MaxInt32} {
		r := reader(append(wire.AppendInt32(nil, length), make([]byte, 64)...))
		r.FixedBlob("key", make([]byte, 32))
		if wire.ViolationCode(r.Err()) != wire.CodeLength {
			t.Errorf("length %d: error %v", length, r.Err())
		}
	}
}

// Bar S02
// Bar S03
func TestReaderHoldsTheLimitOfALength(t *testing.T) {
	const limit = 3 * wire.ReadStep
	for _, test := range []struct {
		length int64
		code   string
	}{
		{0, ""},
		{1, ""},
		{wire.ReadStep - 1, ""},
		{wire.ReadStep, ""},
		{wire.ReadStep + 1, ""},
		{limit - 1, ""},
		{limit, ""},
		{limit + 1, wire.CodeLength},
		{-1, wire.CodeLength},
		{math.MaxInt32, wire.CodeLength},
		{math.MaxInt64, wire.CodeLength},
		{math.MinInt64, wire.CodeLength},
	} {
		t.Run(strconv.FormatInt(test.length, 10), func(t *testing.T) {
			input := make([]byte, limit+1)
			for i := range input {
				input[i] = byte(i * 7)
			}
			r := reader(input)
			got := r.Bytes("a", test.length, limit)
			if code := wire.ViolationCode(r.Err()); code != test.code {
				t.Fatalf("code %q, want %q", code, test.code)
			}
			if test.code == "" && !bytes.Equal(got, input[:test.length]) {
				t.Errorf("%d bytes differ", len(got))
			}
			r = reader(input)
			r.Skip("a", test.length, limit)
			if code := wire.ViolationCode(r.Err()); code != test.code {
				t.Fatalf("skip: code %q, want %q", code, test.code)
			}
			if test.code == "" && r.Uint8() != input[test.length] {
				t.Error("skip went elsewhere")
			}
		})
	}
}

// Bar S02
func TestReaderTakesMemoryOnlyAsBytesArrive(t *testing.T) {
	for _, declared := range []int64{3 * wire.ReadStep, 1 << 20, 64 << 20} {
		for _, arrive := range []int{0, 1, wire.ReadStep, 2 * wire.ReadStep} {
			input := make([]byte, arrive)
			src := bufio.NewReader(bytes.NewReader(input))
			wiretest.CheckAllocation(t, arrive, func() {
				src.Reset(bytes.NewReader(input))
				r := wire.NewReader(src)
				if r.Bytes("a", declared, 64<<20) != nil || !errors.Is(r.Err(), io.EOF) && !errors.Is(r.Err(), io.ErrUnexpectedEOF) {
					t.Errorf("error %v", r.Err())
				}
			})
		}
	}
}

func TestReader_SkippedBlob_NoMemory(t *testing.T) {
	const keep, limit = 4, 8
	for n := range limit + 2 {
		r := reader(append(wire.AppendBlob(nil, make([]byte, n)), 42))
		got := r.BlobOrSkip("avatar", keep, limit)
		switch {
		case n > limit:
			if wire.ViolationCode(r.Err()) != wire.CodeLength {
				t.Errorf("%d bytes: error %v", n, r.Err())
			}
			continue
		case n > keep || n == 0:
			if got != nil {
				t.Errorf("%d bytes: kept %d", n, len(got))
			}
		case len(got) != n:
			t.Errorf("%d bytes: kept %d", n, len(got))
		}
		if r.Uint8() != 42 || r.Err() != nil {
			t.Errorf("%d bytes: the stream is out of step, error %v", n, r.Err())
		}
	}
}

func TestCutText_WholeCharacters(t *testing.T) {
	const s = "aя€😀b"
	for n := range len(s) + 2 {
		got := wire.CutText(s, n)
		if len(got) > n || !utf8.ValidString(got) || s[:len(got)] != got || n >= len(s) && got != s || len(got) < n-3 && n <= len(s) {
			t.Errorf("CutText(%d) = %q", n, got)
		}
	}
	r := reader(wire.AppendBlob(nil, s))
	if got := r.CutText("a", 4, 100); got != "aя" {
		t.Errorf("cut to %q", got)
	}
}
