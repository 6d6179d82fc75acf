// SPDX-License-Identifier: MPL-2.0

package aac_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/mimird/mimird/proto/aac"
)

// silence is a unit of one channel, as an encoder writes it for nothing.
var silence = []byte{0x00, 0xC8, 0x00, 0x80, 0x23, 0x80}

// sample is audio with units of different sizes.
func sample(c aac.Config, units int) aac.Audio {
	a := aac.Audio{Config: c}
	for i := range units {
		a.Units = append(a.Units, append(slices.Clone(silence), bytes.Repeat([]byte{byte(i)}, i%300)...))
	}
	return a
}

func mpeg4(a aac.Audio) []byte {
	var sizes []uint32
	for _, u := range a.Units {
		sizes = append(sizes, uint32(len(u)))
	}
	file := aac.AppendMPEG4Head(nil, a.Config, sizes)
	return append(file, bytes.Join(a.Units, nil)...)
}

func TestConfig_AsOnTheWire(t *testing.T) {
	for wire, want := range map[string]aac.Config{
		"1208":       {Rate: 44_100, Channels: 1},
		"1210":       {Rate: 44_100, Channels: 2},
		"1588":       {Rate: 8_000, Channels: 1},
		"120856e500": {Rate: 44_100, Channels: 1},
	} {
		b, err := hex.DecodeString(wire)
		if err != nil {
			t.Fatal(err)
		}
		got, err := aac.ParseConfig(b)
		if err != nil || got != want {
			t.Errorf("%s: %+v, %v", wire, got, err)
		}
		if encoded := got.AppendTo(nil); !bytes.Equal(encoded, b[:2]) {
			t.Errorf("%s: encoded as %x", wire, encoded)
		}
	}
	for wire, want := range map[string]error{
		"": aac.ErrFormat, "12": aac.ErrFormat, "2a08": aac.ErrProfile, "1200": aac.ErrFormat, "1798": aac.ErrFormat, "1218": aac.ErrFormat,
		"1208000000000000000000000000000000": aac.ErrFormat,
	} {
		b, err := hex.DecodeString(wire)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := aac.ParseConfig(b); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", wire, err, want)
		}
	}
}

// What is written is read again, in both formats, and the header of ADTS is as an
// encoder writes it.
func TestParse_BothFormats(t *testing.T) {
	for _, c := range []aac.Config{{Rate: 44_100, Channels: 1}, {Rate: 96_000, Channels: 2}} {
		want := sample(c, 700)
		for name, file := range map[string][]byte{
			"ADTS":          want.AppendADTS(nil),
			"ADTS with ID3": want.AppendADTS(append([]byte("ID3\x04\x00\x00\x00\x00\x01\x02"), make([]byte, 130)...)),
			"MPEG-4":        mpeg4(want),
		} {
			got, err := aac.Parse(file)
			if err != nil || got.Config != c || !slices.EqualFunc(got.Units, want.Units, bytes.Equal) {
				t.Errorf("%s: %d units, %+v, %v", name, len(got.Units), got.Config, err)
			}
		}
	}
	one := aac.Audio{Config: aac.Call(), Units: [][]byte{silence}}
	if got := hex.EncodeToString(one.AppendADTS(nil)); got != "fff1504001bffc00c800802380" {
		t.Errorf("a unit with its header: %s", got)
	}
	if got := sample(aac.Call(), 431).Duration().Round(time.Millisecond); got != 10_008*time.Millisecond {
		t.Errorf("431 units play %v", got)
	}
}

// A file as other programs write it: several chunks, a track of pictures in front, and
// places of 8 bytes.
func TestParse_MPEG4OfOthers(t *testing.T) {
	box := func(kind string, contents ...[]byte) []byte {
		b := bytes.Join(contents, nil)
		return append([]byte{0, 0, byte((len(b) + 8) >> 8), byte(len(b) + 8), kind[0], kind[1], kind[2], kind[3]}, b...)
	}
	n := func(all ...byte) (b []byte) {
		for _, v := range all {
			b = append(b, 0, 0, 0, v)
		}
		return b
	}
	const data = 16 + 8 // where the units begin
	units := [][]byte{{0, 1}, {0, 2, 2}, {0, 3}, {0, 4, 4, 4}, {0, 5}}
	mdat := box("mdat", units[0], units[1], n(9), units[2], units[3], units[4])
	esds := []byte{
		0, 0, 0, 0, 3, 0x80, 0x80, 0x80, 25, 0, 1, 0, 4, 17, 0x40, 0x15, 0, 0, 0, 0, 0, 0xBB, 0x80, 0, 0, 0xBB, 0x80, 5, 2, 0x12, 0x08, 6, 1, 2,
	}
	sound := box("trak", box("mdia", box("hdlr", n(0, 0), []byte("soun"), n(0, 0, 0)), box("minf", box(
		"stbl",
		box("stsd", n(0, 1), box("mp4a", make([]byte, 28), box("esds", esds))),
		box("stsz", n(0, 0, 5), n(2, 3, 2, 4, 2)),
		box("stsc", n(0, 2), n(1, 2, 1), n(2, 3, 1)),
		box("co64", n(0, 2), n(0, data, 0, data+5+4)),
	))))
	pictures := box("trak", box("mdia", box("hdlr", n(0, 0), []byte("vide"), n(0, 0, 0))))
	file := slices.Concat(box("ftyp", []byte("M4A \x00\x00\x02\x00")), mdat, box("free"), box("moov", box("mvhd", n(0)), pictures, sound))
	got, err := aac.Parse(file)
	if err != nil || got.Config != aac.Call() || !slices.EqualFunc(got.Units, units, bytes.Equal) {
		t.Errorf("%x, %+v, %v", got.Units, got.Config, err)
	}
	for name, test := range map[string]struct {
		file []byte
		want error
	}{
		"fragments":   {slices.Concat(box("ftyp", n(0, 0)), box("moof")), aac.ErrFormat},
		"no sound":    {slices.Concat(box("ftyp", n(0, 0)), box("moov", pictures)), aac.ErrFormat},
		"another AAC": {bytes.Replace(file, []byte{5, 2, 0x12, 0x08}, []byte{5, 2, 0x2A, 0x08}, 1), aac.ErrProfile},
		"MP3":         {bytes.Replace(file, []byte{17, 0x40, 0x15}, []byte{17, 0x6B, 0x15}, 1), aac.ErrProfile},
		"ALAC":        {bytes.Replace(file, []byte("mp4a"), []byte("alac"), 1), aac.ErrProfile},
	} {
		if _, err := aac.Parse(test.file); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

// A file that ends early is an error, wherever it ends; only a stream of ADTS may end
// behind any unit.
func TestParse_CutAnywhere(t *testing.T) {
	a := sample(aac.Call(), 12)
	stream, file := a.AppendADTS(nil), mpeg4(a)
	whole := map[int]int{}
	for i := range a.Units {
		whole[len(aac.Audio{Config: a.Config, Units: a.Units[:i+1]}.AppendADTS(nil))] = i + 1
	}
	for n := range stream {
		got, err := aac.Parse(stream[:n])
		if (err == nil) != (whole[n] > 0) || len(got.Units) != whole[n] {
			t.Errorf("%d bytes of a stream: %d units, %v", n, len(got.Units), err)
		}
	}
	for n := range file {
		if _, err := aac.Parse(file[:n]); err == nil {
			t.Errorf("%d of %d bytes of a file are read as a whole one", n, len(file))
		}
	}
}

func TestPlausibleUnit(t *testing.T) {
	for name, test := range map[string]struct {
		packet []byte
		want   bool
	}{
		"silence": {silence, true}, "nothing": {nil, false}, "too large": {make([]byte, aac.MaxUnit+1), false}, "largest": {make([]byte, aac.MaxUnit), true},
		"an end":      {[]byte{0xE0}, false},
		"with a head": {aac.Audio{Config: aac.Call(), Units: [][]byte{silence}}.AppendADTS(nil), false},
	} {
		if got := aac.PlausibleUnit(test.packet); got != test.want {
			t.Errorf("%s: %v", name, got)
		}
	}
}

// FuzzParse reads or refuses files of any content; audio that was read is the same when it is
// written and read again.
func FuzzParse(f *testing.F) {
	a := sample(aac.Call(), 5)
	f.Add(a.AppendADTS(nil))
	f.Add(mpeg4(a))
	f.Add(append([]byte("ID3\x04\x00\x00\x00\x00\x00\x01x"), a.AppendADTS(nil)...))
	f.Fuzz(func(t *testing.T, file []byte) {
		got, err := aac.Parse(file)
		if err != nil {
			return
		}
		if len(got.Units) == 0 || got.Duration() <= 0 {
			t.Fatalf("no audio: %+v", got.Config)
		}
		for _, again := range [][]byte{got.AppendADTS(nil), mpeg4(got)} {
			back, err := aac.Parse(again)
			if err != nil || back.Config != got.Config || !slices.EqualFunc(back.Units, got.Units, bytes.Equal) {
				t.Fatalf("%d units are %d after they were written: %v", len(got.Units), len(back.Units), err)
			}
		}
	})
}

// The configuration, which the caller sends in the first packet.
func FuzzConfig(f *testing.F) {
	f.Add([]byte{0x12, 0x08})
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := aac.ParseConfig(b)
		if err != nil {
			return
		}
		if again, err := aac.ParseConfig(c.AppendTo(nil)); err != nil || again != c {
			t.Fatalf("%+v is read as %+v: %v", c, again, err)
		}
	})
}
