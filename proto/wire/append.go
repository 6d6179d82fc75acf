// SPDX-License-Identifier: MPL-2.0

package wire

import "encoding/binary"

// AppendInt32 appends four bytes.
func AppendInt32(b []byte, v int32) []byte { return binary.BigEndian.AppendUint32(b, uint32(v)) }

// AppendUint32 appends four bytes.
func AppendUint32(b []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(b, v) }

// AppendInt64 appends eight bytes.
func AppendInt64(b []byte, v int64) []byte { return binary.BigEndian.AppendUint64(b, uint64(v)) }

// AppendUint64 appends eight bytes.
func AppendUint64(b []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(b, v) }

// AppendBool appends one byte, 1 for true.
func AppendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

// AppendBlob appends an i32 length and the bytes of v, a []byte or a string.
func AppendBlob[T ~[]byte | ~string](b []byte, v T) []byte {
	return append(AppendInt32(b, int32(len(v))), v...)
}

// AppendShortText appends a length of two bytes and the text, cut to what fits.
func AppendShortText(b []byte, text string) []byte {
	text = CutText(text, 1<<16-1)
	return append(binary.BigEndian.AppendUint16(b, uint16(len(text))), text...)
}
