// SPDX-License-Identifier: MPL-2.0

package files

import (
	"bufio"
	"encoding/binary"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

// Request is one of [GetNonce], [Auth], [Ping], [Upload], [Download] and
// [FileInfo].
type Request interface {
	// Command returns the command that the request has on the wire.
	Command() Command
	// AppendTo appends the whole request. The answer has the same id, which is any
	// number; clients count from 1 to 65535 and begin again.
	AppendTo(b []byte, id uint16) []byte
}

// GetNonce asks for a nonce to sign. The answer is read by [Response.Nonce].
type GetNonce struct{ Identity identity.PublicKey }

// Auth logs in. Signature is that of identity.PrivateKey.SignServerNonce.
type Auth struct {
	Identity  identity.PublicKey
	Nonce     [32]byte
	Signature identity.Signature
}

// Ping asks for a sign of life.
type Ping struct{}

// Upload sends one chunk of a file. The chunk at offset 0 begins an upload, or
// begins it again; the others follow without gaps. The answer to the last one
// says that the file is stored.
type Upload struct {
	Hash   Hash
	GUID   int64 // of the message that the file belongs to
	Offset uint64
	Total  uint64 // size of the whole encrypted file
	Data   []byte // at most UploadChunk
}

// Download asks for a file from Offset to its end, or for Limit bytes of it when
// that is above 0. The answers are read by [Response.Chunk].
type Download struct {
	Hash   Hash
	GUID   int64 // ignored by servers
	Offset uint64
	Limit  uint32
}

// FileInfo asks whether a file is there. The answer is read by [Response.Info].
type FileInfo struct{ Hash Hash }

// Command returns CommandGetNonce.
func (GetNonce) Command() Command { return CommandGetNonce }

// Command returns CommandAuth.
func (Auth) Command() Command { return CommandAuth }

// Command returns CommandPing.
func (Ping) Command() Command { return CommandPing }

// Command returns CommandUpload.
func (Upload) Command() Command { return CommandUpload }

// Command returns CommandDownload.
func (Download) Command() Command { return CommandDownload }

// Command returns CommandFileInfo.
func (FileInfo) Command() Command { return CommandFileInfo }

// AppendTo appends the request.
func (q GetNonce) AppendTo(b []byte, id uint16) []byte {
	b, start := wire.AppendServerFrame(b, byte(CommandGetNonce), id)
	return wire.FinishServerFrame(wire.AppendField(b, tagPublicKey, q.Identity[:]), start)
}

// AppendTo appends the request.
func (q Auth) AppendTo(b []byte, id uint16) []byte {
	b, start := wire.AppendServerFrame(b, byte(CommandAuth), id)
	b = wire.AppendField(b, tagPublicKey, q.Identity[:])
	b = wire.AppendField(b, tagNonce, q.Nonce[:])
	return wire.FinishServerFrame(wire.AppendField(b, tagSignature, q.Signature[:]), start)
}

// AppendTo appends the request.
func (Ping) AppendTo(b []byte, id uint16) []byte {
	b, start := wire.AppendServerFrame(b, byte(CommandPing), id)
	return wire.FinishServerFrame(b, start)
}

// AppendTo appends the request.
func (q Upload) AppendTo(b []byte, id uint16) []byte {
	b, start := wire.AppendServerFrame(b, byte(CommandUpload), id)
	b = wire.AppendField(b, tagHash, q.Hash[:])
	b = wire.AppendFieldUint64(b, tagGUID, uint64(q.GUID))
	b = wire.AppendFieldUint64(b, tagOffset, q.Offset)
	b = wire.AppendFieldUint64(b, tagTotal, q.Total)
	return wire.FinishServerFrame(wire.AppendField(b, tagData, q.Data), start)
}

// AppendTo appends the request. Without a limit it has the one that the apps
// write for "to the end".
func (q Download) AppendTo(b []byte, id uint16) []byte {
	limit := q.Limit
	if limit == 0 {
		limit = wholeFile // servers never answer a limit of 0
	}
	b, start := wire.AppendServerFrame(b, byte(CommandDownload), id)
	b = wire.AppendField(b, tagHash, q.Hash[:])
	b = wire.AppendFieldUint64(b, tagGUID, uint64(q.GUID))
	b = wire.AppendFieldUint64(b, tagOffset, q.Offset)
	return wire.FinishServerFrame(wire.AppendFieldUint32(b, tagLimit, limit), start)
}

// AppendTo appends the request.
func (q FileInfo) AppendTo(b []byte, id uint16) []byte {
	b, start := wire.AppendServerFrame(b, byte(CommandFileInfo), id)
	return wire.FinishServerFrame(wire.AppendField(b, tagHash, q.Hash[:]), start)
}

// Call is a request as it came, before its fields are looked at: a wrong field
// spoils the request, not the connection.
type Call struct {
	Command Command
	ID      uint16
	payload []byte
}

// ReadCall reads a request. A violation, or an error of the stream, ends the
// connection.
func ReadCall(src *bufio.Reader) (Call, error) {
	r := wire.NewReader(src)
	command, id, payload := r.ServerFrame("request", MaxRequest)
	return Call{Command: Command(command), ID: id, payload: payload}, r.Err()
}

// RequestError is why a server refuses a request. The text goes to the client.
type RequestError struct{ Text string }

// Error returns the text.
func (e *RequestError) Error() string { return e.Text }

// Parse reads the fields of a call. Its errors are of type *[RequestError]. The
// data of an upload points into the call.
//
// A Download with a limit of 0 on the wire is nil without an error: by the
// protocol it gets no answer at all.
func (c Call) Parse() (Request, error) {
	if c.Command.String() == "UNKNOWN" {
		return nil, &RequestError{textUnknown}
	}
	fields, err := wire.ParseFields(c.payload)
	if err != nil {
		return nil, &RequestError{textBadPayload}
	}
	p := parser{fields: fields}
	q := p.request(c.Command)
	if p.err != nil {
		return nil, p.err
	}
	return q, nil
}

// parser reads fields until the first one that is wrong.
type parser struct {
	fields *wire.Fields
	err    error
}

func (p *parser) request(command Command) Request {
	switch command {
	case CommandGetNonce:
		var q GetNonce
		p.fixed(tagPublicKey, "pubkey", q.Identity[:])
		return q
	case CommandAuth:
		var q Auth
		p.fixed(tagPublicKey, "pubkey", q.Identity[:])
		p.fixed(tagNonce, "nonce", q.Nonce[:])
		p.fixed(tagSignature, "signature", q.Signature[:])
		return q
	case CommandUpload:
		return p.upload()
	case CommandDownload:
		return p.download()
	case CommandFileInfo:
		var q FileInfo
		p.fixed(tagHash, "file hash", q.Hash[:])
		return q
	}
	return Ping{}
}

func (p *parser) upload() Request {
	var q Upload
	p.fixed(tagHash, "file hash", q.Hash[:])
	q.GUID = int64(p.uint64(tagGUID, "message guid"))
	q.Offset = p.uint64(tagOffset, "offset")
	q.Total = p.uint64(tagTotal, "total size")
	data, ok := p.fields.Last(tagData)
	switch {
	case p.err != nil:
	case !ok:
		p.err = &RequestError{textMissingChunk}
	case len(data) > UploadChunk:
		p.err = &RequestError{TextChunkTooLong}
	}
	q.Data = data
	return q
}

func (p *parser) download() Request {
	var q Download
	p.fixed(tagHash, "file hash", q.Hash[:])
	q.Offset = p.uint64(tagOffset, "offset")
	if guid, ok := p.fields.Last(tagGUID); ok && len(guid) == 8 {
		q.GUID = int64(binary.BigEndian.Uint64(guid))
	}
	if limit, ok := p.fields.Last(tagLimit); ok && len(limit) == 4 {
		switch n := binary.BigEndian.Uint32(limit); n {
		case 0:
			return nil
		case wholeFile:
		default:
			q.Limit = n
		}
	}
	return q
}

func (p *parser) fixed(tag byte, name string, dst []byte) {
	value, ok := p.fields.Last(tag)
	if p.err == nil && (!ok || len(value) != len(dst)) {
		p.err = &RequestError{"missing or invalid " + name}
	}
	if p.err == nil {
		copy(dst, value)
	}
}

func (p *parser) uint64(tag byte, name string) uint64 {
	var b [8]byte
	p.fixed(tag, name, b[:])
	return binary.BigEndian.Uint64(b[:])
}
