// SPDX-License-Identifier: MPL-2.0

package peer

import "github.com/mimird/mimird/proto/wire"

// FileRequest asks the sender of a message for its file. When the file is not
// there or the hash differs, there is no answer.
//
// All fields are the requester's. Look up what was offered to that identity under
// that guid; never make a path of Name.
type FileRequest struct {
	// GUID is the message that offered the file.
	GUID GUID
	Name string
	// Hash is the SHA-256 of the plain file in hex, if the requester is honest.
	Hash string
}

// FrameType returns FrameFileRequest.
func (FileRequest) FrameType() FrameType { return FrameFileRequest }

// AppendTo appends the frame.
func (f FileRequest) AppendTo(b []byte) []byte {
	b = appendHeader(b, FrameFileRequest, 8+4+len(f.Name)+4+len(f.Hash))
	b = wire.AppendInt64(b, int64(f.GUID))
	b = wire.AppendBlob(b, f.Name)
	return wire.AppendBlob(b, f.Hash)
}

func readFileRequest(r *wire.Reader) FileRequest {
	return FileRequest{
		GUID: GUID(r.Int64()),
		Name: r.Text("name", wire.MaxFileName),
		Hash: r.Text("hash", wire.MaxHashText),
	}
}
