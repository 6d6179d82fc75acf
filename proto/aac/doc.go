// SPDX-License-Identifier: MPL-2.0

// Package aac packs and unpacks AAC-LC audio without decoding it: the audio of calls, the
// greeting of the answering machine, and voice messages. An access unit, here a unit, is
// 1,024 samples of compressed audio; a call carries one in each packet.
//
//	bits  ADTS header of a unit (ISO/IEC 13818-7), big-endian
//	12    syncword, all ones
//	4     version, layer (0), and whether there is no checksum
//	2     profile: 1 is AAC-LC
//	4     sample rate, an index
//	1     private
//	3     channels
//	4     of copyright
//	13    length of the unit with this header
//	11    buffer fullness
//	2     further units under this header
//
//	bits  codec configuration (AudioSpecificConfig, ISO/IEC 14496-3), big-endian
//	5     object type: 2 is AAC-LC
//	4     sample rate, an index
//	4     channels
//	3     zero, all that apps write
//
// [Parse] reads the two files in which programs export AAC, a stream of ADTS units (.aac)
// and MPEG-4 (.m4a, ISO/IEC 14496-12 and -14); [AppendMPEG4Head] writes the second, which
// is what the apps, browsers and Matrix clients play. [ParseConfig] reads the first packet
// of a call, which is the configuration of the encoder: 12 08 for 44.1 kHz and one channel.
// Every length is checked before memory is taken.
//
// The facts about calls are those of the Android app 3.1.2 (calls/AudioSender.kt and
// AudioReceiver.kt). The package is pure.
package aac
