// SPDX-License-Identifier: MPL-2.0

package files

import (
	"bufio"
	"strconv"
	"strings"

	"github.com/mimird/mimird/proto/wire"
)

const (
	statusOK    = 0x00
	statusError = 0x01
)

// Response is the answer to a request.
type Response struct {
	ID      uint16
	failed  bool
	payload []byte
}

// ReadResponse reads an answer. Errors end the connection. What the server
// refuses is not an error here: see [Response.Err].
func ReadResponse(src *bufio.Reader) (Response, error) {
	r := wire.NewReader(src)
	status, id, payload := r.ServerFrame("response", maxResponse)
	if err := r.Err(); err != nil {
		return Response{}, err
	}
	if status > statusError {
		return Response{}, wire.NewViolation(wire.CodeCommand, "response with status %d", status)
	}
	return Response{ID: id, failed: status == statusError, payload: payload}, nil
}

// ServerError is the refusal of a server.
type ServerError struct {
	// Text is the server's word, cut and without control characters.
	Text string
}

// Error quotes the server.
func (e *ServerError) Error() string { return "the file server refuses: " + e.Text }

// Err returns nil, or a *[ServerError].
func (r Response) Err() error {
	if !r.failed {
		return nil
	}
	return &ServerError{wire.Refusal(r.payload)}
}

// Nonce returns the nonce that answers [GetNonce].
func (r Response) Nonce() (nonce [32]byte, err error) {
	fields, err := r.fields()
	if err != nil {
		return nonce, err
	}
	fields.Fixed(tagNonce, "nonce", nonce[:])
	return nonce, fields.Err()
}

// Chunk is a piece of a file, in the answer to [Download].
type Chunk struct {
	Offset uint64
	Total  uint64 // size of the whole file
	Data   []byte // points into the response
}

// Chunk returns a piece of a file.
func (r Response) Chunk() (Chunk, error) {
	fields, err := r.fields()
	if err != nil {
		return Chunk{}, err
	}
	c := Chunk{Offset: fields.Uint64(tagOffset, "offset"), Total: fields.Uint64(tagTotal, "total size")}
	data, ok := fields.Last(tagData)
	switch {
	case fields.Err() != nil:
		return Chunk{}, fields.Err()
	case !ok:
		return Chunk{}, wire.NewViolation(wire.CodeMissing, "data: absent")
	case len(data) > DownloadChunk:
		return Chunk{}, wire.NewViolation(wire.CodeLength, "data: %d bytes, allowed %d", len(data), DownloadChunk)
	}
	c.Data = data
	return c, nil
}

// Info is the answer to [FileInfo].
type Info struct {
	Total uint64
	GUID  int64
}

// Info returns what is known of a file.
func (r Response) Info() (Info, error) {
	fields, err := r.fields()
	if err != nil {
		return Info{}, err
	}
	info := Info{Total: fields.Uint64(tagTotal, "total size"), GUID: int64(fields.Uint64(tagGUID, "message guid"))}
	if fields.Err() != nil {
		return Info{}, fields.Err()
	}
	return info, nil
}

func (r Response) fields() (*wire.Fields, error) {
	if err := r.Err(); err != nil {
		return nil, err
	}
	return wire.ParseFields(r.payload)
}

// AppendOK appends the answer that has no fields.
func AppendOK(b []byte, id uint16) []byte {
	b, start := wire.AppendServerFrame(b, statusOK, id)
	return wire.FinishServerFrame(b, start)
}

// AppendError appends a refusal.
func AppendError(b []byte, id uint16, text string) []byte {
	b, start := wire.AppendServerFrame(b, statusError, id)
	return wire.FinishServerFrame(wire.AppendShortText(b, text), start)
}

// AppendNonce appends the answer to [GetNonce].
func AppendNonce(b []byte, id uint16, nonce [32]byte) []byte {
	b, start := wire.AppendServerFrame(b, statusOK, id)
	return wire.FinishServerFrame(wire.AppendField(b, tagNonce, nonce[:]), start)
}

// AppendTo appends one answer to [Download].
func (c Chunk) AppendTo(b []byte, id uint16) []byte {
	b, start := wire.AppendServerFrame(b, statusOK, id)
	b = wire.AppendField(b, tagData, c.Data)
	b = wire.AppendFieldUint64(b, tagTotal, c.Total)
	return wire.FinishServerFrame(wire.AppendFieldUint64(b, tagOffset, c.Offset), start)
}

// AppendTo appends the answer to [FileInfo].
func (i Info) AppendTo(b []byte, id uint16) []byte {
	b, start := wire.AppendServerFrame(b, statusOK, id)
	b = wire.AppendFieldUint64(b, tagTotal, i.Total)
	return wire.FinishServerFrame(wire.AppendFieldUint64(b, tagGUID, uint64(i.GUID)), start)
}

// ParseExpectedOffset reads the number out of the refusal of a chunk that does not
// follow the one before; see [TextExpectedOffset].
func ParseExpectedOffset(text string) (offset uint64, ok bool) {
	rest, found := strings.CutPrefix(text, "expected offset ")
	digits, _, comma := strings.Cut(rest, ",")
	offset, err := strconv.ParseUint(digits, 10, 64)
	return offset, found && comma && err == nil
}

// TextExpectedOffset is the refusal of a chunk that does not follow the one before.
func TextExpectedOffset(want, got uint64) string {
	return "expected offset " + strconv.FormatUint(want, 10) + ", got " + strconv.FormatUint(got, 10)
}

// TextHashMismatch is the refusal of the last chunk of a file that is not what it
// was announced as.
func TextHashMismatch(want, got Hash) string {
	return textHashMismatch + ": expected " + want.String() + ", got " + got.String()
}

// IsHashMismatch reports whether a refusal is that of [TextHashMismatch].
func IsHashMismatch(text string) bool { return strings.HasPrefix(text, textHashMismatch) }

const textHashMismatch = "hash mismatch"
