// SPDX-License-Identifier: MPL-2.0

package wire

import (
	"errors"
	"fmt"
)

// Codes of a [Violation]. The set is fixed, so a code can be a metric label.
const (
	// CodeFrameType is a frame that the state of the conversation does not allow.
	CodeFrameType = "frame_type"
	// CodeLength is a length or size that is negative, above its limit or not the required one.
	CodeLength = "length"
	// CodeTruncated is a datagram or field that ends too early.
	CodeTruncated = "truncated"
	// CodeTrailing is bytes left over where nothing may follow.
	CodeTrailing = "trailing"
	// CodeVarint is a varint of more than four bytes.
	CodeVarint = "varint"
	// CodeMissing is a required field that is absent.
	CodeMissing = "missing"
	// CodeText is a text that is not valid UTF-8.
	CodeText = "text"
	// CodeJSON is JSON that does not parse, nests too deep or is not an object.
	CodeJSON = "json"
	// CodeValue is a value outside of its range.
	CodeValue = "value"
	// CodeVersion is a protocol version that nobody speaks.
	CodeVersion = "version"
	// CodeCommand is an unknown command or role.
	CodeCommand = "command"
	// CodeReceiver is a handshake addressed to an identity that is not here.
	CodeReceiver = "receiver"
	// CodeKey is a public key that cannot be one.
	CodeKey = "key"
	// CodeSignature is a signature that does not verify.
	CodeSignature = "signature"
	// CodeChallenge is a challenge that we must not sign.
	CodeChallenge = "challenge"
)

// Codes returns every code a [Violation] can carry.
func Codes() []string {
	return []string{
		CodeFrameType, CodeLength, CodeTruncated, CodeTrailing, CodeVarint, CodeMissing, CodeText, CodeJSON, CodeValue,
		CodeVersion, CodeCommand, CodeReceiver, CodeKey, CodeSignature, CodeChallenge,
	}
}

// maxDetail bounds Violation.Detail. Details are made of our own words and of
// numbers, never of input; the bound makes sure of it.
const maxDetail = 160

// Violation is the error for a remote side that broke the protocol. It ends that
// session or drops that datagram and nothing else. A connection that merely
// broke off is an io error instead.
type Violation struct {
	// Code is one of the Code constants.
	Code string
	// Detail names the field and the numbers, for a debug log. It never quotes
	// input.
	Detail string
}

// NewViolation makes a violation. Arguments are field names and numbers of our
// own, never bytes from outside.
func NewViolation(code, format string, args ...any) *Violation {
	detail := fmt.Sprintf(format, args...)
	if len(detail) > maxDetail {
		detail = detail[:maxDetail]
	}
	return &Violation{Code: code, Detail: detail}
}

// Error returns code and detail.
func (v *Violation) Error() string { return "protocol violation (" + v.Code + "): " + v.Detail }

// ViolationCode returns the code of the violation in err's chain, or "" when
// there is none, that is when the remote side is not to blame.
func ViolationCode(err error) string {
	if v, ok := errors.AsType[*Violation](err); ok {
		return v.Code
	}
	return ""
}
