// SPDX-License-Identifier: MPL-2.0

package aac

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"time"
)

const (
	// UnitSamples is the number of samples of a unit.
	UnitSamples = 1024
	// MaxUnit is the size of the largest unit of one or two channels, in bytes: 6,144 bits
	// for a channel.
	MaxUnit = 2 * 6144 / 8
	// objectLC is the object type of AAC-LC.
	objectLC = 2
	// MaxConfig is the longest codec configuration, in bytes. Ours: apps write 2, and
	// some encoders 5.
	MaxConfig = 16
)

var (
	// ErrFormat says that a file is neither an ADTS stream nor MPEG-4 with AAC.
	ErrFormat = errors.New("not an AAC file (.aac) or MPEG-4 audio file (.m4a)")
	// ErrProfile says that the audio is not AAC-LC.
	ErrProfile = errors.New("the audio is not AAC-LC")
	// errDamaged says that a file of a known format ends early or contradicts itself.
	errDamaged = errors.New("damaged")
)

// rates are the sample rates in Hz, by their index.
var rates = [...]int{96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350}

// Config is how the units of one stream are decoded. The profile is always AAC-LC.
type Config struct {
	// Rate is the sample rate in Hz, one of 13 standard ones.
	Rate int
	// Channels is 1 or 2.
	Channels int
}

// Call is the configuration of the audio of calls. Apps use no other one.
func Call() Config { return Config{Rate: 44_100, Channels: 1} }

// ParseConfig reads a codec configuration. Errors: [ErrProfile]; ErrFormat for anything
// that is none.
func ParseConfig(b []byte) (Config, error) {
	if len(b) < 2 || len(b) > MaxConfig {
		return Config{}, fmt.Errorf("codec configuration of %d bytes: %w", len(b), ErrFormat)
	}
	if b[0]>>3 != objectLC {
		return Config{}, ErrProfile
	}
	return configOf(b[0]&7<<1|b[1]>>7, b[1]>>3&15)
}

func configOf(rate, channels byte) (Config, error) {
	if int(rate) >= len(rates) || channels < 1 || channels > 2 {
		return Config{}, fmt.Errorf("sample rate %d, channels %d: %w", rate, channels, ErrFormat)
	}
	return Config{Rate: rates[rate], Channels: int(channels)}, nil
}

// AppendTo appends the codec configuration, 2 bytes. The configuration has to be one that
// ParseConfig returns.
func (c Config) AppendTo(b []byte) []byte {
	rate := byte(slices.Index(rates[:], c.Rate))
	return append(b, objectLC<<3|rate>>1, rate<<7|byte(c.Channels)<<3)
}

// Duration is the time that so many units take.
func (c Config) Duration(units int) time.Duration {
	return time.Duration(units) * UnitSamples * time.Second / time.Duration(c.Rate)
}

// PlausibleUnit reports whether a packet of a call can be a unit: it has a size that units
// have, and does not begin with the end, as an empty unit and an ADTS header do.
func PlausibleUnit(b []byte) bool {
	const elementEnd = 7
	return len(b) > 0 && len(b) <= MaxUnit && b[0]>>5 != elementEnd
}

// Audio is the content of a file.
type Audio struct {
	Config Config
	// Units point into the file.
	Units [][]byte
}

// Duration is how long the audio plays.
func (a Audio) Duration() time.Duration { return a.Config.Duration(len(a.Units)) }

// Parse reads an ADTS stream, or an MPEG-4 file whose first audio track is AAC-LC. A tag
// of ID3 in front of an ADTS stream is skipped. Errors: [ErrFormat], [ErrProfile], or that
// the file is damaged.
func Parse(file []byte) (Audio, error) {
	if len(file) >= 8 && string(file[4:8]) == "ftyp" {
		return parseMPEG4(file)
	}
	return parseADTS(skipID3(file))
}

const adtsHeader = 7

// skipID3 returns what follows a tag of ID3v2, whose length has 7 bits in each byte.
func skipID3(b []byte) []byte {
	const header = 10
	if len(b) < header || !bytes.HasPrefix(b, []byte("ID3")) {
		return b
	}
	size := header + int(b[6]&127)<<21 + int(b[7]&127)<<14 + int(b[8]&127)<<7 + int(b[9]&127)
	return b[min(size, len(b)):]
}

func parseADTS(b []byte) (Audio, error) {
	var a Audio
	for len(b) > 0 {
		if len(b) < adtsHeader || b[0] != 0xFF || b[1]&0xF6 != 0xF0 {
			if len(a.Units) == 0 {
				return Audio{}, ErrFormat
			}
			return Audio{}, fmt.Errorf("AAC file: %w behind unit %d", errDamaged, len(a.Units))
		}
		if b[2]>>6 != objectLC-1 {
			return Audio{}, ErrProfile
		}
		config, err := configOf(b[2]>>2&15, b[2]&1<<2|b[3]>>6)
		if err != nil {
			return Audio{}, err
		}
		if len(a.Units) > 0 && config != a.Config {
			return Audio{}, fmt.Errorf("AAC file: the configuration changes: %w", ErrFormat)
		}
		a.Config = config
		header := adtsHeader
		if b[1]&1 == 0 {
			header += 2 // a checksum
		}
		size := int(b[3]&3)<<11 | int(b[4])<<3 | int(b[5]>>5)
		switch {
		case b[6]&3 != 0:
			return Audio{}, fmt.Errorf("AAC file: several units under one header: %w", ErrFormat)
		case size <= header || size > len(b) || size-header > MaxUnit:
			return Audio{}, fmt.Errorf("AAC file: %w in unit %d", errDamaged, len(a.Units)+1)
		}
		a.Units = append(a.Units, b[header:size:size])
		b = b[size:]
	}
	if len(a.Units) == 0 {
		return Audio{}, ErrFormat
	}
	return a, nil
}

// AppendADTS appends the audio as an ADTS stream.
func (a Audio) AppendADTS(b []byte) []byte {
	config := a.Config.AppendTo(nil)
	rate, channels := config[0]&7<<1|config[1]>>7, config[1]>>3&15
	for _, unit := range a.Units {
		size := adtsHeader + len(unit)
		b = append(
			b, 0xFF, 0xF1, (objectLC-1)<<6|rate<<2|channels>>2, channels<<6|byte(size>>11), byte(size>>3), byte(size)<<5|0x1F, 0xFC,
		)
		b = append(b, unit...)
	}
	return b
}
