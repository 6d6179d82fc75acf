// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// FileClient is a connection to a file server, as the app has it.
type FileClient struct {
	conn overlay.Conn
	in   *bufio.Reader
	last uint16
}

// DialFiles connects to a file server without logging in.
func DialFiles(ctx context.Context, carrier overlay.Carrier, server identity.NodeKey) (*FileClient, error) {
	conn, err := carrier.Dial(ctx, server, FilePort)
	if err != nil {
		return nil, err
	}
	c := &FileClient{conn: conn, in: bufio.NewReader(conn)}
	_, err = conn.Write([]byte{1, 0})
	return c, err
}

// Abort ends the connection at once.
func (c *FileClient) Abort() { _ = c.conn.Abort() }

// Call sends a request and returns the body of the answer, or the server's words as
// the error.
func (c *FileClient) Call(command byte, body []byte) ([]byte, error) {
	c.last++
	b := binary.BigEndian.AppendUint16([]byte{command}, c.last)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	if _, err := c.conn.Write(append(b, body...)); err != nil {
		return nil, err
	}
	return c.read()
}

func (c *FileClient) read() ([]byte, error) {
	var head [7]byte
	if _, err := io.ReadFull(c.in, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[3:])
	if size > 50<<20 || binary.BigEndian.Uint16(head[1:]) != c.last {
		return nil, errProtocol
	}
	body := make([]byte, size)
	if _, err := io.ReadFull(c.in, body); err != nil {
		return nil, err
	}
	if head[0] != 0 {
		return nil, errors.New(string(body[2:]))
	}
	return body, nil
}

// Login proves an identity.
func (c *FileClient) Login(id Identity) error {
	key := id.Key()
	answer, err := c.Call(0x01, appendTLV(nil, 0x01, key[:]))
	if err != nil {
		return err
	}
	var nonce []byte
	if err := eachTLV(answer, func(tag byte, value []byte) {
		if tag == 0x03 {
			nonce = value
		}
	}); err != nil || len(nonce) != 32 {
		return fmt.Errorf("nonce of %d bytes: %w", len(nonce), err)
	}
	body := appendTLV(appendTLV(nil, 0x01, key[:]), 0x03, nonce)
	_, err = c.Call(0x02, appendTLV(body, 0x02, id.Sign(nonce)))
	return err
}

// UploadChunk sends one chunk.
func (c *FileClient) UploadChunk(hash [32]byte, offset, total uint64, chunk []byte) error {
	body := appendTLV(nil, 0x40, hash[:])
	body = appendTLV(body, 0x12, make([]byte, 8))
	body = appendTLV(body, 0x41, binary.BigEndian.AppendUint64(nil, offset))
	body = appendTLV(body, 0x42, binary.BigEndian.AppendUint64(nil, total))
	_, err := c.Call(0x10, appendTLV(body, 0x43, chunk))
	return err
}

// Upload sends a whole file.
func (c *FileClient) Upload(data []byte) (hash [32]byte, err error) {
	hash = sha256.Sum256(data)
	for offset := 0; offset < len(data); offset += 65_536 {
		chunk := data[offset:min(offset+65_536, len(data))]
		if err := c.UploadChunk(hash, uint64(offset), uint64(len(data)), chunk); err != nil {
			return hash, err
		}
	}
	return hash, nil
}

// Download fetches a file from an offset on.
func (c *FileClient) Download(hash [32]byte, offset uint64) ([]byte, error) {
	body := appendTLV(nil, 0x40, hash[:])
	body = appendTLV(body, 0x12, make([]byte, 8))
	body = appendTLV(body, 0x41, binary.BigEndian.AppendUint64(nil, offset))
	answer, err := c.Call(0x11, appendTLV(body, 0x30, []byte{0xff, 0xff, 0xff, 0xff}))
	var data []byte
	for {
		if err != nil {
			return data, err
		}
		fields := make(map[byte][]byte)
		if err := eachTLV(answer, func(tag byte, value []byte) { fields[tag] = value }); err != nil {
			return data, err
		}
		if len(fields[0x41]) != 8 || len(fields[0x42]) != 8 || binary.BigEndian.Uint64(fields[0x41]) != offset {
			return data, errProtocol
		}
		data = append(data, fields[0x43]...)
		if offset += uint64(len(fields[0x43])); offset >= binary.BigEndian.Uint64(fields[0x42]) {
			return data, nil
		}
		answer, err = c.read()
	}
}

// sealedPiece is how much of a file is encrypted at once.
const sealedPiece = 1 << 20

// Seal encrypts a file.
func Seal(key [32]byte, plain []byte) []byte {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic(err) // only for keys of another length
	}
	var out []byte
	for i := uint64(0); len(plain) > 0; i++ {
		n := min(len(plain), sealedPiece)
		nonce := append(binary.LittleEndian.AppendUint64(nil, i), 0, 0, 0, 0)
		out = aead.Seal(out, nonce, plain[:n], nil)
		plain = plain[n:]
	}
	return out
}

// Unseal decrypts a file.
func Unseal(key [32]byte, sealed []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		return nil, err
	}
	var out []byte
	for i := uint64(0); len(sealed) > 0; i++ {
		n := min(len(sealed), sealedPiece+16)
		nonce := append(binary.LittleEndian.AppendUint64(nil, i), 0, 0, 0, 0)
		if out, err = aead.Open(out, nonce, sealed[:n], nil); err != nil {
			return nil, err
		}
		sealed = sealed[n:]
	}
	return out, nil
}

// Attachment is what a message says of its file.
type Attachment struct {
	Name         string `json:"name"`
	Size         int64  `json:"size"`
	Hash         string `json:"hash"`
	Key          string `json:"key,omitempty"`
	Server       string `json:"server,omitempty"`
	OriginalName string `json:"originalName,omitempty"`
	MIMEType     string `json:"mimeType,omitempty"`
	Text         string `json:"text"`
}

// Payload is the attachment as the payload of a message.
func (a Attachment) Payload() []byte {
	b, err := json.Marshal(a)
	if err != nil {
		panic(err) // strings and a number
	}
	return b
}

// Inline is the older form: the file behind its description.
func (a Attachment) Inline(data []byte) []byte {
	description := a.Payload()
	b := binary.BigEndian.AppendUint32(nil, uint32(len(description)))
	return append(append(b, description...), data...)
}

// ParseAttachment reads the payload of a message with a file on a server.
func ParseAttachment(payload []byte) (Attachment, error) {
	var a Attachment
	err := json.Unmarshal(payload, &a)
	return a, err
}

// Offer encrypts a file, puts it on a server and returns what a message says of it.
func (s *FileServer) Offer(name string, plain []byte) Attachment {
	key := sha256.Sum256([]byte("key: " + name))
	hash := s.Put(Seal(key, plain))
	server := s.Key()
	return Attachment{
		Name: name, OriginalName: name, Size: int64(len(plain)), Hash: hex.EncodeToString(hash[:]),
		Key: base64.StdEncoding.EncodeToString(key[:]), Server: server.String(),
	}
}

// Plain fetches what a message offers from the server's memory, as a reader of the
// message would.
func (s *FileServer) Plain(a Attachment) ([]byte, error) {
	raw, err := hex.DecodeString(a.Hash)
	if err != nil || len(raw) != 32 {
		return nil, fmt.Errorf("hash %q: %w", a.Hash, err)
	}
	sealed, ok := s.Stored([32]byte(raw))
	if !ok {
		return nil, errors.New("the server does not have the file")
	}
	key, err := base64.StdEncoding.DecodeString(a.Key)
	if err != nil || len(key) != 32 {
		return nil, fmt.Errorf("key of %d bytes: %w", len(key), err)
	}
	plain, err := Unseal([32]byte(key), sealed)
	if err == nil && int64(len(plain)) != a.Size {
		err = fmt.Errorf("%d bytes, not %d", len(plain), a.Size)
	}
	return plain, err
}
