// SPDX-License-Identifier: MPL-2.0

package answering

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/aac"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
)

const (
	recordingMagic  = "mimcall1"
	recordingHeader = len(recordingMagic) + 2*identity.KeySize + 8 + 8 + 4
	packetHeader    = 2 + 4
	recordingEnding = ".call"
	damagedEnding   = ".damaged"
	// maxRate is the highest rate at which audio is kept, in bytes per second: 128 kbit/s.
	// Apps send 6,000.
	maxRate = 16_000
	// maxPending bounds the audio that is not on the disk yet. Beyond it packets are
	// dropped, so a slow disk makes gaps.
	maxPending = 512 << 10
)

var errNotRecording = errors.New("not a recording")

// recording is a call that is being recorded. The actor of the call adds packets, and one
// goroutine writes them.
type recording struct {
	// Fixed at creation.
	name string
	file *os.File
	// most and mostBytes bound the units.
	most      int
	mostBytes int64
	over      chan struct{} // closed when nothing is added any more

	mu      sync.Mutex
	config  aac.Config
	pending []byte
	begun   bool // the codec configuration was written
	units   int
	bytes   int64
	dropped int
}

// create begins a recording, durably. The caller ends it with release.
func (m *Machine) create(c store.Conversation) (*recording, error) {
	if m.deps.Store.DiskLow() {
		return nil, store.ErrDiskFull
	}
	started := m.deps.Now()
	contact := c.Contact()
	guid := peer.DeriveGUID([]byte("answering machine"), c.Account[:], contact[:], binary.BigEndian.AppendUint64(nil, uint64(started.UnixNano())))
	name := fmt.Sprintf("%016x%s", uint64(guid), recordingEnding)
	m.mu.Lock()
	if len(m.writing) >= maxCalls || m.waiting >= maxRecordings {
		defer m.mu.Unlock()
		if m.waiting >= maxRecordings {
			return nil, errWaiting
		}
		return nil, errCalls
	}
	m.writing[name] = struct{}{}
	m.mu.Unlock()

	header := append([]byte(recordingMagic), c.Account[:]...)
	header = append(header, contact[:]...)
	header = binary.BigEndian.AppendUint64(header, uint64(started.UnixMilli()))
	header = binary.BigEndian.AppendUint64(header, uint64(guid))
	header = binary.BigEndian.AppendUint32(header, crc32.ChecksumIEEE(header))
	r := &recording{
		name: name, config: aac.Call(), over: make(chan struct{}),
		most:      int(m.deps.Options.MaxMessage/aac.Call().Duration(1)) + 1,
		mostBytes: int64(m.deps.Options.MaxMessage/time.Second) * maxRate,
	}
	err := durable.MkdirAll(m.deps.Dir)
	if err == nil {
		r.file, err = os.OpenFile(filepath.Join(m.deps.Dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	}
	if err == nil {
		_, err = r.file.Write(header)
		err = errors.Join(err, r.file.Sync(), durable.SyncDir(m.deps.Dir))
	}
	if err != nil {
		if r.file != nil {
			_ = os.Remove(r.file.Name()) // or the keeper finds it
		}
		m.release(r)
		return nil, fmt.Errorf("create recording: %w", err)
	}
	return r, nil
}

// release ends the writing of a recording, and hands it to the keeper.
func (m *Machine) release(r *recording) {
	if r.file != nil {
		_ = r.file.Close() // it was synced
	}
	m.mu.Lock()
	delete(m.writing, r.name)
	m.mu.Unlock()
	m.wakeKeeper()
}

// setConfig notes the codec configuration of the caller, before the first unit.
func (r *recording) setConfig(c aac.Config) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.config = c
}

// add adds a unit, and returns false when the message has its greatest length. A unit that
// does not fit into memory is dropped.
func (r *recording) add(unit []byte) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.units >= r.most || r.bytes+int64(len(unit)) > r.mostBytes {
		return false
	}
	if len(r.pending)+len(unit) > maxPending {
		r.dropped++
		return true
	}
	if !r.begun {
		r.pending, r.begun = appendPacket(r.pending, r.config.AppendTo(nil)), true
	}
	r.pending = appendPacket(r.pending, unit)
	r.units++
	r.bytes += int64(len(unit))
	return true
}

func appendPacket(b, data []byte) []byte {
	b = binary.BigEndian.AppendUint16(b, uint16(len(data)))
	b = binary.BigEndian.AppendUint32(b, crc32.ChecksumIEEE(data))
	return append(b, data...)
}

// finish says that nothing is added any more. It may be called once.
func (r *recording) finish() { close(r.over) }

// flush writes what was added, durably.
func (r *recording) flush() error {
	r.mu.Lock()
	pending := r.pending
	r.pending = nil
	r.mu.Unlock()
	if len(pending) == 0 {
		return nil
	}
	if _, err := r.file.Write(pending); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	if err := r.file.Sync(); err != nil {
		return fmt.Errorf("write recording: %w", err)
	}
	crashpoint.At(crashpoint.DuringCall)
	return nil
}

// counts returns the number of units that were added, and of those that were dropped.
func (r *recording) counts() (units, dropped int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.units, r.dropped
}

// recorded is a recording that was read.
type recorded struct {
	store.Conversation
	started store.Millis
	guid    peer.GUID
	config  aac.Config
	sizes   []uint32 // of the units
	bytes   int64    // of all of them
	// cut is how many bytes follow the last whole packet: the file was being written when
	// the process or the machine ended.
	cut int64
}

// readRecording reads a recording without its audio. Errors: errNotRecording when the
// header is damaged, those of the file.
func readRecording(path string) (r recorded, err error) {
	file, err := os.Open(path)
	if err != nil {
		return recorded{}, err
	}
	defer func() { _ = file.Close() }() // only read
	info, err := file.Stat()
	if err != nil {
		return recorded{}, err
	}
	var header [recordingHeader]byte
	src := bufio.NewReader(file)
	if _, err := io.ReadFull(src, header[:]); err != nil {
		return recorded{}, errors.Join(errNotRecording, unlessShort(err))
	}
	fields := header[:recordingHeader-4]
	if !bytes.HasPrefix(fields, []byte(recordingMagic)) || crc32.ChecksumIEEE(fields) != binary.BigEndian.Uint32(header[len(fields):]) {
		return recorded{}, errNotRecording
	}
	fields = fields[len(recordingMagic):]
	r.Account = identity.PublicKey(fields[:identity.KeySize])
	r.ID = store.ContactConversation(identity.PublicKey(fields[identity.KeySize : 2*identity.KeySize]))
	fields = fields[2*identity.KeySize:]
	r.started, r.guid = store.Millis(binary.BigEndian.Uint64(fields)), peer.GUID(binary.BigEndian.Uint64(fields[8:]))
	r.config = aac.Call()
	left := info.Size() - int64(recordingHeader)
	for first := true; ; first = false {
		data, err := readPacket(src)
		if err != nil {
			r.cut = left
			return r, unlessShort(err)
		}
		left -= packetHeader + int64(len(data))
		if !first {
			r.sizes, r.bytes = append(r.sizes, uint32(len(data))), r.bytes+int64(len(data))
			continue
		}
		if config, err := aac.ParseConfig(data); err == nil {
			r.config = config
		}
	}
}

// errPacket says that a packet of a recording is not whole.
var errPacket = errors.New("damaged packet")

// unlessShort returns nil for the errors of a file that ends, or is damaged, within a
// packet.
func unlessShort(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, errPacket) {
		return nil
	}
	return err
}

func readPacket(src io.Reader) ([]byte, error) {
	var header [packetHeader]byte
	if _, err := io.ReadFull(src, header[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint16(header[:])
	if size == 0 || size > aac.MaxUnit {
		return nil, errPacket
	}
	data := make([]byte, size)
	if _, err := io.ReadFull(src, data); err != nil {
		return nil, err
	}
	if crc32.ChecksumIEEE(data) != binary.BigEndian.Uint32(header[2:]) {
		return nil, errPacket
	}
	return data, nil
}

// unitReader reads the units of a recording, one behind the other.
type unitReader struct {
	src  io.Reader
	left int // units
	unit []byte
}

// newUnitReader returns a reader of so many units; src is behind the header.
func newUnitReader(src io.Reader, units int) (*unitReader, error) {
	if _, err := readPacket(src); err != nil {
		return nil, err
	}
	return &unitReader{src: src, left: units}, nil
}

func (u *unitReader) Read(b []byte) (int, error) {
	if len(u.unit) == 0 {
		if u.left == 0 {
			return 0, io.EOF
		}
		var err error
		if u.unit, err = readPacket(u.src); err != nil {
			return 0, fmt.Errorf("read recording: %w", err)
		}
		u.left--
	}
	n := copy(b, u.unit)
	u.unit = u.unit[n:]
	return n, nil
}

// complete returns the names of the recordings that are not being written, and updates
// how many there are.
func (m *Machine) complete() ([]string, error) {
	entries, err := os.ReadDir(m.deps.Dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("look for recordings: %w", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	var names []string
	for _, entry := range entries {
		if _, writing := m.writing[entry.Name()]; !writing && strings.HasSuffix(entry.Name(), recordingEnding) {
			names = append(names, entry.Name())
		}
	}
	m.waiting = len(names)
	return names, nil
}
