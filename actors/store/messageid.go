// SPDX-License-Identifier: MPL-2.0

package store

import (
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Direction says who wrote a message.
type Direction uint8

const (
	// In is from the contact to the account.
	In Direction = iota
	// Out is from the account to the contact.
	Out
)

// String returns "in" or "out".
func (d Direction) String() string {
	if d == Out {
		return "out"
	}
	return "in"
}

// MaxVariants is how many messages with different content one incoming guid can
// stand for. Senders number their messages freely and nothing stops two from
// having the same number; sixteen is more than accident produces.
const MaxVariants = 16

// MessageID names a message within its conversation, for ever.
type MessageID struct {
	_       struct{} `cbor:",toarray"`
	Dir     Direction
	GUID    int64  // the sender's number for the message, never 0
	Variant uint16 // 0, or n for the n-th further message with the same guid
}

// IsZero reports whether the id names no message.
func (id MessageID) IsZero() bool { return id.GUID == 0 }

// String returns the stable text form: "i" or "o", 16 hex digits, and "-n" for
// variants above 0.
func (id MessageID) String() string {
	text := fmt.Sprintf("%c%016x", id.Dir.String()[0], uint64(id.GUID))
	if id.Variant > 0 {
		text += "-" + strconv.Itoa(int(id.Variant))
	}
	return text
}

// MarshalText writes the text form.
func (id MessageID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads the text form.
func (id *MessageID) UnmarshalText(text []byte) error {
	parsed, err := ParseMessageID(string(text))
	if err != nil {
		return err
	}
	*id = parsed
	return nil
}

var errMessageID = errors.New(`parse message id: want "i" or "o", 16 hex digits and an optional "-n"`)

// ParseMessageID reads the text form. It accepts exactly what
// [MessageID.String] writes, so that one message has one name.
func ParseMessageID(s string) (MessageID, error) {
	const fixed = 1 + 16
	if len(s) < fixed || len(s) > fixed+len("-65535") {
		return MessageID{}, errMessageID
	}
	var id MessageID
	switch s[0] {
	case 'i':
	case 'o':
		id.Dir = Out
	default:
		return MessageID{}, errMessageID
	}
	var guid [8]byte
	if _, err := hex.Decode(guid[:], []byte(s[1:fixed])); err != nil {
		return MessageID{}, errMessageID
	}
	for _, b := range guid {
		id.GUID = id.GUID<<8 | int64(b)
	}
	if digits, has := strings.CutPrefix(s[fixed:], "-"); has {
		n, err := strconv.ParseUint(digits, 10, 16)
		if err != nil {
			return MessageID{}, errMessageID
		}
		id.Variant = uint16(n)
	}
	if id.GUID == 0 || id.String() != s {
		return MessageID{}, errMessageID
	}
	return id, nil
}
