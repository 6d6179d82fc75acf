// SPDX-License-Identifier: MPL-2.0

package files_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"testing"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/mimird/mimird/proto/files"
)

func sealed(t *testing.T, key files.Key, plain []byte) []byte {
	t.Helper()
	b, err := io.ReadAll(files.NewSealer(key, bytes.NewReader(plain), 0))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestChunkNonces opens chunk 258 with the nonce of the vector.
func TestChunkNonces(t *testing.T) {
	key := files.Key{1}
	aead, err := chacha20poly1305.New(key[:])
	if err != nil {
		t.Fatal(err)
	}
	for first, nonce := range map[uint64]string{0: "000000000000000000000000", 258: "020100000000000000000000"} {
		raw, err := hex.DecodeString(nonce)
		if err != nil {
			t.Fatal(err)
		}
		chunk, err := io.ReadAll(files.NewSealer(key, bytes.NewReader([]byte("chunk")), first))
		if err != nil {
			t.Fatal(err)
		}
		if plain, err := aead.Open(nil, raw, chunk, nil); string(plain) != "chunk" || err != nil {
			t.Errorf("chunk %d: %q, %v", first, plain, err)
		}
	}
}

// TestSealingGoesOnInTheMiddle is what lets an upload begin again at an offset.
func TestSealingGoesOnInTheMiddle(t *testing.T) {
	plain := pattern(2*files.PlainChunk + 10)
	whole := sealed(t, files.Key{1}, plain)
	rest, err := io.ReadAll(files.NewSealer(files.Key{1}, bytes.NewReader(plain[files.PlainChunk:]), 1))
	if err != nil || !bytes.Equal(rest, whole[files.SealedChunk:]) {
		t.Errorf("%d bytes, %v", len(rest), err)
	}
}

func TestOpenerRefuses(t *testing.T) {
	key := files.Key{1}
	good := sealed(t, key, pattern(files.PlainChunk+100))
	flipped := bytes.Clone(good)
	flipped[len(flipped)-1] ^= 1
	swapped := append(bytes.Clone(good[files.SealedChunk:]), good[:files.SealedChunk]...)
	for name, b := range map[string][]byte{
		"one bit":        flipped,
		"order":          swapped,
		"cut in a chunk": good[:len(good)-1],
		"cut to 16":      good[:files.SealedChunk+16],
		"empty chunk":    sealed(t, key, nil)[:0:0],
	} {
		plain, err := io.ReadAll(files.NewOpener(key, bytes.NewReader(b)))
		if len(b) == 0 {
			if len(plain) != 0 || err != nil {
				t.Errorf("nothing: %d bytes, %v", len(plain), err)
			}
			continue
		}
		if !errors.Is(err, files.ErrDecrypt) {
			t.Errorf("%s: %d bytes, %v", name, len(plain), err)
		}
	}
	if _, err := io.ReadAll(files.NewOpener(files.Key{2}, bytes.NewReader(good))); !errors.Is(err, files.ErrDecrypt) {
		t.Errorf("another key: %v", err)
	}
}

func TestSizes(t *testing.T) {
	for _, n := range []int64{0, 1, files.PlainChunk - 1, files.PlainChunk, files.PlainChunk + 1, 1 << 40} {
		if back, ok := files.PlainSize(files.SealedSize(n)); back != n || !ok {
			t.Errorf("%d: %d, %v", n, back, ok)
		}
	}
	for _, n := range []int64{-1, 1, 16, files.SealedChunk + 1, files.SealedChunk + 16} {
		if plain, ok := files.PlainSize(n); ok {
			t.Errorf("%d bytes could be %d", n, plain)
		}
	}
}

// Bar S21
func TestKey_RedactedInLogs(t *testing.T) {
	key := files.Key{0xab, 0xcd}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if s := fmt.Sprintf(format, key); s != "[redacted]" {
			t.Errorf("%s prints %s", format, s)
		}
	}
}
