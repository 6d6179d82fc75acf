// SPDX-License-Identifier: MPL-2.0

package aac

import (
	"encoding/binary"
	"fmt"
	"math"
)

// A box of MPEG-4 has its size with the header in 4 bytes, its type in 4, and its content,
// which may be boxes.

const (
	boxHeader = 8
	// maxBoxes bounds the boxes that are read on one level.
	maxBoxes = 256
	// objectAAC is the object type indication of MPEG-4 audio.
	objectAAC = 0x40
	// streamAudio is the stream type of audio, with the bit that is always set.
	streamAudio = 5<<2 | 1
)

// The tags of descriptors (ISO/IEC 14496-1).
const (
	tagES = 3 + iota
	tagDecoderConfig
	tagDecoderSpecific
	tagSL
)

// eachBox calls f with the boxes of a level until it returns an error.
func eachBox(b []byte, f func(kind string, content []byte) error) error {
	for range maxBoxes {
		if len(b) < boxHeader {
			return nil // what is too small for a box is padding
		}
		size, header := uint64(binary.BigEndian.Uint32(b)), uint64(boxHeader)
		switch {
		case size == 1 && len(b) >= 2*boxHeader:
			size, header = binary.BigEndian.Uint64(b[boxHeader:]), 2*boxHeader
		case size == 0:
			size = uint64(len(b)) // to the end of the file
		}
		if size < header || size > uint64(len(b)) {
			return fmt.Errorf("MPEG-4 file: %w: box of %d bytes", errDamaged, size)
		}
		if err := f(string(b[4:boxHeader]), b[header:size]); err != nil {
			return err
		}
		b = b[size:]
	}
	return fmt.Errorf("MPEG-4 file: %w: too many boxes", errDamaged)
}

// track is what is read of one track.
type track struct {
	audio  bool
	entry  []byte // content of stsd
	sizes  []byte // content of stsz
	chunks []byte // content of stsc
	places []byte // content of stco or co64
	wide   bool   // places have 8 bytes
}

func parseMPEG4(file []byte) (Audio, error) {
	var found *track
	err := eachBox(file, func(kind string, moov []byte) error {
		switch kind {
		case "moof":
			return fmt.Errorf("MPEG-4 file in fragments: %w", ErrFormat)
		case "moov":
		default:
			return nil
		}
		return eachBox(moov, func(kind string, trak []byte) error {
			if kind != "trak" || found != nil {
				return nil
			}
			var t track
			if err := t.read(trak); err != nil {
				return err
			}
			if t.audio {
				found = &t
			}
			return nil
		})
	})
	if err != nil {
		return Audio{}, err
	}
	if found == nil {
		return Audio{}, fmt.Errorf("MPEG-4 file without audio: %w", ErrFormat)
	}
	return found.units(file)
}

// read collects the boxes of a track that matter.
func (t *track) read(trak []byte) error {
	const deepest = 3 // mdia, minf, stbl
	depth := 0
	var visit func(kind string, b []byte) error
	visit = func(kind string, b []byte) error {
		switch kind {
		case "mdia", "minf", "stbl":
			if depth == deepest {
				return fmt.Errorf("MPEG-4 file: %w: boxes too deep", errDamaged)
			}
			depth++
			defer func() { depth-- }()
			return eachBox(b, visit)
		case "hdlr":
			t.audio = len(b) >= 12 && string(b[8:12]) == "soun"
		case "stsd":
			t.entry = b
		case "stsz":
			t.sizes = b
		case "stsc":
			t.chunks = b
		case "stco", "co64":
			t.places, t.wide = b, kind == "co64"
		}
		return nil
	}
	return eachBox(trak, visit)
}

// units follows the tables of a track: sizes has the size of each unit, places where each
// chunk is, and chunks how many units a chunk has, from one chunk on.
func (t *track) units(file []byte) (Audio, error) {
	bad := func(what string) (Audio, error) {
		return Audio{}, fmt.Errorf("MPEG-4 file: %w: %s", errDamaged, what)
	}
	config, err := t.config()
	if err != nil {
		return Audio{}, err
	}
	if len(t.sizes) < 12 {
		return bad("no sizes")
	}
	same, count, sizes := binary.BigEndian.Uint32(t.sizes[4:]), binary.BigEndian.Uint32(t.sizes[8:]), t.sizes[12:]
	if same == 0 && uint64(len(sizes)) < 4*uint64(count) || uint64(count) > uint64(len(file)) || count == 0 {
		return bad("sizes")
	}
	width := 4
	if t.wide {
		width = 8
	}
	places, ok := entries(t.places, width)
	chunks, ok2 := entries(t.chunks, 12)
	if !ok || !ok2 {
		return bad("chunks")
	}
	a, each := Audio{Config: config}, uint32(0)
	for chunk := 1; len(places) > 0; chunk++ {
		for len(chunks) > 0 && uint64(binary.BigEndian.Uint32(chunks)) <= uint64(chunk) {
			each, chunks = binary.BigEndian.Uint32(chunks[4:]), chunks[12:]
		}
		at := uint64(binary.BigEndian.Uint32(places))
		if t.wide {
			at = binary.BigEndian.Uint64(places)
		}
		places = places[width:]
		for range min(each, count-uint32(len(a.Units))) {
			size := uint64(same)
			if same == 0 {
				size = uint64(binary.BigEndian.Uint32(sizes[4*len(a.Units):]))
			}
			if size == 0 || size > MaxUnit || at > uint64(len(file)) || size > uint64(len(file))-at {
				return bad(fmt.Sprint("unit ", len(a.Units)+1))
			}
			a.Units = append(a.Units, file[at:at+size:at+size])
			at += size
		}
	}
	if len(a.Units) != int(count) {
		return bad("units")
	}
	return a, nil
}

// entries returns the entries of a table, each of width bytes.
func entries(b []byte, width int) ([]byte, bool) {
	if len(b) < 8 {
		return nil, false
	}
	count := uint64(binary.BigEndian.Uint32(b[4:]))
	b = b[8:]
	if count > uint64(len(b)/width) {
		return nil, false
	}
	return b[:count*uint64(width)], true
}

// config reads the entry of the codec: mp4a with the descriptors of AAC-LC.
func (t *track) config() (Config, error) {
	const (
		tableHeader = 8
		audioFields = 28
	)
	var config Config
	found := false
	if len(t.entry) < tableHeader {
		return config, fmt.Errorf("MPEG-4 file: %w: no codec", errDamaged)
	}
	err := eachBox(t.entry[tableHeader:], func(kind string, entry []byte) error {
		if kind != "mp4a" || len(entry) < audioFields || found {
			return nil
		}
		return eachBox(entry[audioFields:], func(kind string, esds []byte) (err error) {
			if kind != "esds" || found {
				return nil
			}
			found = true
			config, err = parseES(esds)
			return err
		})
	})
	if err == nil && !found {
		err = ErrProfile
	}
	return config, err
}

// parseES reads the descriptors of a stream down to the codec configuration.
func parseES(b []byte) (Config, error) {
	bad := fmt.Errorf("MPEG-4 file: %w: codec", errDamaged)
	if len(b) < 4 {
		return Config{}, bad
	}
	es, ok := descriptor(b[4:], tagES)
	if !ok || len(es) < 3 || es[2]&0xE0 != 0 { // no optional fields, which audio files do not have
		return Config{}, bad
	}
	decoder, ok := descriptor(es[3:], tagDecoderConfig)
	if !ok || len(decoder) < 13 {
		return Config{}, bad
	}
	if decoder[0] != objectAAC {
		return Config{}, ErrProfile
	}
	specific, ok := descriptor(decoder[13:], tagDecoderSpecific)
	if !ok {
		return Config{}, bad
	}
	return ParseConfig(specific)
}

// descriptor returns the content of a descriptor at the beginning of b. Its length has 7
// bits in each byte.
func descriptor(b []byte, tag byte) ([]byte, bool) {
	if len(b) < 2 || b[0] != tag {
		return nil, false
	}
	size := 0
	for i, c := range b[1:min(len(b), 5)] {
		size = size<<7 | int(c&127)
		if c&128 == 0 {
			rest := b[2+i:]
			return rest[:min(size, len(rest))], size <= len(rest)
		}
	}
	return nil, false
}

// box returns a box with the contents.
func box(kind string, contents ...[]byte) []byte {
	size := boxHeader
	for _, c := range contents {
		size += len(c)
	}
	b := append(binary.BigEndian.AppendUint32(nil, uint32(size)), kind...)
	for _, c := range contents {
		b = append(b, c...)
	}
	return b
}

// numbers encodes numbers of 4 bytes.
func numbers(all ...uint32) []byte {
	var b []byte
	for _, n := range all {
		b = binary.BigEndian.AppendUint32(b, n)
	}
	return b
}

// AppendMPEG4Head appends an MPEG-4 file up to its first unit. The units follow, one behind
// the other, in the sizes that were given, and end the file. All together may have at most
// 1 GiB.
func AppendMPEG4Head(b []byte, c Config, sizes []uint32) []byte {
	var total, largest uint32
	for _, size := range sizes {
		total, largest = total+size, max(largest, size)
	}
	count, rate := uint32(len(sizes)), uint32(c.Rate)
	samples := count * UnitSamples
	bits := uint32(0)
	if samples > 0 {
		bits = uint32(min(8*uint64(total)*uint64(rate)/uint64(samples), math.MaxUint32))
	}
	unity := []uint32{1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30} // the matrix of every file
	specific := c.AppendTo(nil)
	short := func(tag byte, content ...byte) []byte { return append([]byte{tag, byte(len(content))}, content...) }
	decoder := append([]byte{objectAAC, streamAudio, byte(largest >> 16), byte(largest >> 8), byte(largest)}, numbers(bits, bits)...)
	decoder = append(decoder, short(tagDecoderSpecific, specific...)...)
	es := append([]byte{0, 0, 0}, short(tagDecoderConfig, decoder...)...)
	es = append(es, short(tagSL, 2)...)
	entry := append([]byte{0, 0, 0, 0, 0, 0, 0, 1}, numbers(0, 0, uint32(c.Channels)<<16|16, 0, rate<<16)...)
	if rate > math.MaxUint16 {
		copy(entry[24:], numbers(0)) // does not fit; the configuration says it
	}

	head := box("ftyp", []byte("M4A \x00\x00\x00\x00M4A mp42isom"))
	moov := func(first uint32) []byte {
		table := box(
			"stbl",
			box("stsd", numbers(0, 1), box("mp4a", entry, box("esds", numbers(0), short(tagES, es...)))),
			box("stts", numbers(0, 1, count, UnitSamples)),
			box("stsc", numbers(0, 1, 1, count, 1)),
			box("stsz", numbers(0, 0, count), numbers(sizes...)),
			box("stco", numbers(0, 1, first)),
		)
		media := box(
			"minf",
			box("smhd", numbers(0, 0)),
			box("dinf", box("dref", numbers(0, 1), box("url ", numbers(1)))),
			table,
		)
		return box(
			"moov",
			box("mvhd", numbers(0, 0, 0, rate, samples, 1<<16, 1<<24, 0, 0), numbers(unity...), numbers(0, 0, 0, 0, 0, 0, 2)),
			box(
				"trak",
				box("tkhd", numbers(7, 0, 0, 1, 0, samples, 0, 0, 0, 1<<24), numbers(unity...), numbers(0, 0)),
				box(
					"mdia",
					box("mdhd", numbers(0, 0, 0, rate, samples, 0x55C4<<16)), // the language: undetermined
					box("hdlr", numbers(0, 0), []byte("soun"), numbers(0, 0, 0), []byte{0}),
					media,
				),
			),
		)
	}
	first := uint32(len(head)+len(moov(0))) + boxHeader
	b = append(append(b, head...), moov(first)...)
	return append(binary.BigEndian.AppendUint32(b, boxHeader+total), "mdat"...)
}
