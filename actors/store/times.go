// SPDX-License-Identifier: MPL-2.0

package store

import "time"

// Times that others claim: the clock of a phone, of a homeserver, of an attacker who
// wants to break the readers of a log. Two bounds apply. What is written down lies
// within [PlausibleTime], and what is read lies within the years 1 to 9999, beyond
// which neither RFC 3339 nor encoding/json can write a time.

const (
	// earliestMillis is the start of 2015, before there was Mimir.
	earliestMillis Millis = 1_420_070_400_000
	// maxAheadMillis is how far the clock of a sender may be ahead of ours.
	maxAheadMillis Millis = 24 * 60 * 60 * 1000

	// firstMillis and lastMillis are the ends of the years 1 and 9999.
	firstMillis Millis = -62_135_596_800_000
	lastMillis  Millis = 253_402_300_799_999
)

// PlausibleTime returns the claimed time of something that was received at the
// given time, or the time of receipt when the claim is impossible: before 2015 or
// more than 24 hours after the receipt. An unknown claim (0) is impossible, too.
// Applying it twice changes nothing. Identity must not depend on the result:
// duplicates are recognised by what the sender sent.
func PlausibleTime(claimed, received Millis) Millis {
	if claimed < earliestMillis || received < lastMillis && claimed > received+maxAheadMillis {
		return received
	}
	return claimed
}

// readable returns the time, cut to the years 1 to 9999.
func (m Millis) readable() time.Time {
	return time.UnixMilli(int64(min(max(m, firstMillis), lastMillis))).UTC()
}
