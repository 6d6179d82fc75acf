// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// FilePort is where file servers listen.
const FilePort = 80

// FileFaults are what is wrong with a file server.
type FileFaults struct {
	// Times is after how many faults it is in order again; 0: never.
	Times int
	// Silent answers nothing but a login.
	Silent bool
	// CutDownload and CutUpload reset the connection when so many bytes of a file have
	// gone over it.
	CutDownload, CutUpload int
	// Total is what it says the size of every file is.
	Total uint64
	// Flip changes a bit of every file.
	Flip bool
	// Swap stores the first two chunks of an upload in the wrong order, as the public
	// server may under load.
	Swap bool
	// Refuse is the text with which it refuses uploads.
	Refuse string
}

// FileServer is the public file server as the description has it, in memory: an
// upload is lost with its connection, and nothing is resumed.
type FileServer struct {
	carrier overlay.Carrier

	mu      sync.Mutex
	faults  FileFaults
	stored  map[[32]byte]storedFile
	offsets []uint64 // of all downloads
}

type storedFile struct {
	data []byte
	guid [8]byte
}

// ServeFiles starts a file server. It ends with the test.
func ServeFiles(t testing.TB, carrier overlay.Carrier, faults FileFaults) *FileServer {
	t.Helper()
	s := &FileServer{carrier: carrier, faults: faults, stored: make(map[[32]byte]storedFile)}
	listener, err := carrier.Listen(FilePort)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var tasks sync.WaitGroup
	tasks.Go(func() {
		for {
			conn, err := listener.Accept(ctx)
			if err != nil {
				return
			}
			tasks.Go(func() {
				end := context.AfterFunc(ctx, func() { _ = conn.Abort() })
				defer end()
				defer func() { _ = conn.Abort() }()
				_ = (&fileConn{FileServer: s, conn: conn, in: bufio.NewReader(conn)}).serve() // however it ends
			})
		}
	})
	t.Cleanup(func() {
		stop()
		_ = listener.Close()
		tasks.Wait()
	})
	return s
}

// Key is the server's node key.
func (s *FileServer) Key() identity.NodeKey { return s.carrier.Key() }

// SetFaults changes what is wrong with it.
func (s *FileServer) SetFaults(f FileFaults) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = f
}

// Put stores a file as if somebody had uploaded it.
func (s *FileServer) Put(data []byte) (hash [32]byte) {
	hash = sha256.Sum256(data)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.stored[hash] = storedFile{data: data}
	return hash
}

// Stored returns a file.
func (s *FileServer) Stored(hash [32]byte) ([]byte, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, ok := s.stored[hash]
	return f.data, ok
}

// Files counts the files.
func (s *FileServer) Files() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.stored)
}

// Offsets returns where each download began.
func (s *FileServer) Offsets() []uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]uint64(nil), s.offsets...)
}

// fault returns the faults that count now, and counts one when hit is set.
func (s *FileServer) fault(hit bool) FileFaults {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.faults
	if hit && s.faults.Times > 0 {
		if s.faults.Times--; s.faults.Times == 0 {
			s.faults = FileFaults{}
		}
	}
	return f
}

// fileConn is one connection.
type fileConn struct {
	*FileServer
	conn overlay.Conn
	in   *bufio.Reader

	nonce   []byte
	known   bool
	hash    [32]byte // of the upload that is under way
	upload  []byte
	total   uint64
	guid    [8]byte
	current uint16
}

func (c *fileConn) serve() error {
	var opening [2]byte
	if _, err := io.ReadFull(c.in, opening[:]); err != nil || opening != [2]byte{1, 0} {
		return fmt.Errorf("opening %x: %w", opening, err)
	}
	for {
		var head [7]byte
		if _, err := io.ReadFull(c.in, head[:]); err != nil {
			return err
		}
		c.current = binary.BigEndian.Uint16(head[1:])
		size := binary.BigEndian.Uint32(head[3:])
		if size > 2_097_152 {
			return errProtocol
		}
		body := make([]byte, size)
		if _, err := io.ReadFull(c.in, body); err != nil {
			return err
		}
		fields := make(map[byte][]byte)
		if err := eachTLV(body, func(tag byte, value []byte) { fields[tag] = value }); err != nil {
			if err := c.refuse("bad tlv payload"); err != nil {
				return err
			}
			continue
		}
		if err := c.request(head[0], fields); err != nil {
			return err
		}
	}
}

func (c *fileConn) answer(status byte, body []byte) error {
	b := binary.BigEndian.AppendUint16([]byte{status}, c.current)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	_, err := c.conn.Write(append(b, body...))
	return err
}

func (c *fileConn) refuse(text string) error {
	return c.answer(1, append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...))
}

func (c *fileConn) request(command byte, fields map[byte][]byte) error {
	switch command {
	case 0x01:
		c.nonce = make([]byte, 32)
		_, _ = rand.Read(c.nonce) // never fails
		return c.answer(0, appendTLV(nil, 0x03, c.nonce))
	case 0x02:
		if len(fields[0x01]) != 32 || string(fields[0x03]) != string(c.nonce) || !Key(fields[0x01]).Verify(c.nonce, fields[0x02]) {
			return c.refuse("invalid signature")
		}
		c.known = true
		return c.answer(0, nil)
	case 0x03:
		return c.answer(0, nil)
	}
	switch {
	case !c.known:
		return c.refuse("not authenticated")
	case len(fields[0x40]) != 32:
		return c.refuse("missing or invalid file hash")
	case c.fault(false).Silent:
		c.fault(true)
		_, err := c.in.Peek(1) // until the client has had enough
		return fmt.Errorf("silent: %w", err)
	}
	hash := [32]byte(fields[0x40])
	switch command {
	case 0x10:
		return c.take(hash, fields)
	case 0x11:
		return c.give(hash, fields)
	case 0x12:
		f, ok := c.find(hash)
		if !ok {
			return c.refuse("file not found")
		}
		body := appendTLV(nil, 0x42, binary.BigEndian.AppendUint64(nil, uint64(len(f.data))))
		return c.answer(0, appendTLV(body, 0x12, f.guid[:]))
	}
	return c.refuse("unknown cmd")
}

func (c *fileConn) find(hash [32]byte) (storedFile, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	f, ok := c.stored[hash]
	return f, ok
}

func (c *fileConn) take(hash [32]byte, fields map[byte][]byte) error {
	chunk := fields[0x43]
	if len(fields[0x12]) != 8 || len(fields[0x41]) != 8 || len(fields[0x42]) != 8 || len(chunk) > 65_536 {
		return c.refuse("missing or invalid offset")
	}
	if _, ok := c.find(hash); ok {
		return c.answer(0, nil)
	}
	faults := c.fault(false)
	if faults.Refuse != "" {
		c.fault(true)
		return c.refuse(faults.Refuse)
	}
	offset := binary.BigEndian.Uint64(fields[0x41])
	switch {
	case offset == 0:
		c.hash, c.upload, c.guid, c.total = hash, nil, [8]byte(fields[0x12]), binary.BigEndian.Uint64(fields[0x42])
	case c.hash != hash || c.upload == nil:
		return c.refuse("no active upload for this file")
	case offset != uint64(len(c.upload)):
		return c.refuse(fmt.Sprintf("expected offset %d, got %d", len(c.upload), offset))
	}
	c.upload = append(c.upload, chunk...)
	if faults.CutUpload > 0 && len(c.upload) >= faults.CutUpload {
		c.fault(true)
		return errProtocol
	}
	if uint64(len(c.upload)) == c.total {
		got := sha256.Sum256(c.upload)
		if got != hash {
			c.upload = nil
			return c.refuse("hash mismatch: expected " + hex.EncodeToString(hash[:]) + ", got " + hex.EncodeToString(got[:]))
		}
		if faults.Swap {
			c.fault(true)
			c.upload = slices.Concat(c.upload[65_536:131_072], c.upload[:65_536], c.upload[131_072:])
		}
		c.mu.Lock()
		c.stored[hash] = storedFile{data: c.upload, guid: c.guid}
		c.mu.Unlock()
		c.upload = nil
	}
	return c.answer(0, nil)
}

func (c *fileConn) give(hash [32]byte, fields map[byte][]byte) error {
	f, ok := c.find(hash)
	if !ok {
		return c.refuse("file not found")
	}
	offset := binary.BigEndian.Uint64(fields[0x41])
	c.mu.Lock()
	c.offsets = append(c.offsets, offset)
	c.mu.Unlock()
	faults := c.fault(false)
	total, data := uint64(len(f.data)), f.data
	if faults.Total > 0 {
		c.fault(true)
		total = faults.Total
	}
	if faults.Flip {
		c.fault(true)
		data = append([]byte(nil), data...)
		data[len(data)/2] ^= 1
	}
	if offset >= uint64(len(data)) {
		return c.refuse("offset beyond file end")
	}
	for offset < uint64(len(data)) {
		piece := data[offset:min(offset+262_144, uint64(len(data)))]
		if cut := uint64(faults.CutDownload); cut > 0 && offset+uint64(len(piece)) > cut {
			c.fault(true)
			return errProtocol
		}
		body := appendTLV(nil, 0x43, piece)
		body = appendTLV(body, 0x42, binary.BigEndian.AppendUint64(nil, total))
		body = appendTLV(body, 0x41, binary.BigEndian.AppendUint64(nil, offset))
		if err := c.answer(0, body); err != nil {
			return err
		}
		offset += uint64(len(piece))
	}
	return nil
}
