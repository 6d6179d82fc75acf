// SPDX-License-Identifier: MPL-2.0

package files

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"golang.org/x/crypto/chacha20poly1305"
)

// An encrypted file is a row of chunks without anything between them. Chunk i is
// PlainChunk bytes of the file (the last one fewer, never none), sealed with
// ChaCha20-Poly1305 under the nonce i: 8 bytes little-endian, then 4 zero bytes.
//
// That whole chunks were cut off the end does not show here. It shows in the hash
// of the encrypted file and in its size: both must be compared.
const (
	// PlainChunk is how much of a file is in one chunk.
	PlainChunk = 1 << 20
	tagSize    = chacha20poly1305.Overhead
	// SealedChunk is the length of a whole chunk.
	SealedChunk = PlainChunk + tagSize
)

// ErrDecrypt means that a file was not encrypted with that key, or was changed.
var ErrDecrypt = errors.New("the file does not decrypt")

// SealedSize returns the size of a file after encryption.
func SealedSize(plain int64) int64 {
	return plain + tagSize*((plain+PlainChunk-1)/PlainChunk)
}

// PlainSize returns the size of a file before encryption; false when there is no
// such file.
func PlainSize(sealed int64) (int64, bool) {
	if sealed < 0 {
		return 0, false
	}
	whole, rest := sealed/SealedChunk, sealed%SealedChunk
	if rest == 0 {
		return whole * PlainChunk, true
	}
	return whole*PlainChunk + rest - tagSize, rest > tagSize
}

// NewSealer returns a reader that encrypts src as it is read, beginning with the
// chunk that is number first of the file. It holds one chunk in memory.
func NewSealer(key Key, src io.Reader, first uint64) io.Reader {
	return &chunker{src: src, size: PlainChunk, number: first, aead: newAEAD(key), turn: func(aead cipher.AEAD, nonce, in []byte) ([]byte, error) {
		return aead.Seal(in[:0], nonce, in, nil), nil
	}}
}

// NewOpener returns a reader that decrypts src as it is read. It holds one chunk in
// memory. What it returns is authentic, chunk by chunk; see above for what that
// does not mean. It fails with [ErrDecrypt].
func NewOpener(key Key, src io.Reader) io.Reader {
	return &chunker{src: src, size: SealedChunk, aead: newAEAD(key), turn: func(aead cipher.AEAD, nonce, in []byte) ([]byte, error) {
		if len(in) <= tagSize {
			return nil, fmt.Errorf("last chunk of %d bytes: %w", len(in), ErrDecrypt)
		}
		out, err := aead.Open(in[:0], nonce, in, nil)
		if err != nil {
			return nil, ErrDecrypt
		}
		return out, nil
	}}
}

func newAEAD(key Key) cipher.AEAD {
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		panic(err) // only for keys of another length
	}
	return aead
}

// chunker reads src in chunks of a size and returns them turned into something
// else, in place.
type chunker struct {
	src    io.Reader
	size   int
	number uint64
	aead   cipher.AEAD
	turn   func(aead cipher.AEAD, nonce, in []byte) ([]byte, error)

	buf  []byte
	rest []byte // turned and not read yet
	err  error
}

// Read implements io.Reader.
func (c *chunker) Read(p []byte) (int, error) {
	for len(c.rest) == 0 {
		if c.err != nil {
			return 0, c.err
		}
		c.next()
	}
	n := copy(p, c.rest)
	c.rest = c.rest[n:]
	return n, nil
}

func (c *chunker) next() {
	if c.buf == nil {
		c.buf = make([]byte, SealedChunk)
	}
	n, err := io.ReadFull(c.src, c.buf[:c.size])
	switch {
	case err == nil:
	case errors.Is(err, io.ErrUnexpectedEOF):
		c.err = io.EOF
	default:
		c.err = err
		return
	}
	nonce := chunkNonce(c.number)
	c.number++
	if c.rest, err = c.turn(c.aead, nonce[:], c.buf[:n]); err != nil {
		c.rest, c.err = nil, err
	}
}

func chunkNonce(number uint64) (nonce [chacha20poly1305.NonceSize]byte) {
	binary.LittleEndian.PutUint64(nonce[:], number)
	return nonce
}
