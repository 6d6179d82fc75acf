// SPDX-License-Identifier: MPL-2.0

package fakemediator

import (
	"bufio"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"github.com/mimird/mimird/actors/overlay"
)

// The commands that tests name.
const (
	GetNonce      byte = 0x01
	Auth          byte = 0x02
	Ping          byte = 0x03
	CreateChat    byte = 0x10
	DeleteChat    byte = 0x11
	UpdateInfo    byte = 0x12
	AddUser       byte = 0x20
	DeleteUser    byte = 0x21
	LeaveChat     byte = 0x22
	UserChats     byte = 0x23
	SendMessage   byte = 0x30
	DeleteMessage byte = 0x31
	Subscribe     byte = 0x35
	MessagesSince byte = 0x36
	SendInvite    byte = 0x40
	InviteAnswer  byte = 0x42
	MemberInfo    byte = 0x50
	MembersInfo   byte = 0x52
	Members       byte = 0x53
	MemberStatus  byte = 0x55
)

// The bits of roles.
const (
	Owner     byte = 0x80
	Admin     byte = 0x40
	Moderator byte = 0x20
	User      byte = 0x10
	ReadOnly  byte = 0x08
	Banned    byte = 0x01
)

// Call is a request as it arrived.
type Call struct {
	Command byte
	ID      uint16
	Fields  map[byte][]byte
}

// Number returns a field of 8 bytes.
func (q Call) Number(tag byte) int64 {
	if len(q.Fields[tag]) != 8 {
		return 0
	}
	return int64(binary.BigEndian.Uint64(q.Fields[tag])) //nolint:gosec // of a test
}

// Line is a connection. A fake that serves it by itself makes it with [NewLine], and calls
// Close at the end.
type Line struct {
	conn overlay.Conn
	// user is who has logged in.
	user string
	held [][]byte // pushes, see Mediator.SwapPushes

	mu     sync.Mutex
	queue  [][]byte // not written yet
	queued chan struct{}
	closed chan struct{}
	once   sync.Once
}

// NewLine is the line of a connection.
func NewLine(conn overlay.Conn) *Line {
	l := &Line{conn: conn, queued: make(chan struct{}, 1), closed: make(chan struct{})}
	go l.write()
	return l
}

// write writes what is queued until the line is closed.
func (l *Line) write() {
	for {
		select {
		case <-l.closed:
			return
		case <-l.queued:
		}
		l.mu.Lock()
		queue := l.queue
		l.queue = nil
		l.mu.Unlock()
		for _, frame := range queue {
			_, _ = l.conn.Write(frame) // a client that is gone does not matter
		}
	}
}

// Write queues bytes, which are written as they are. It does not block: who calls it may hold
// the lock of the mediator, and a large frame takes its time.
func (l *Line) Write(frame []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = append(l.queue, frame)
	select {
	case l.queued <- struct{}{}:
	default:
	}
}

// Close ends the connection at once.
func (l *Line) Close() {
	l.once.Do(func() { close(l.closed) })
	_ = l.conn.Abort()
}

// OK answers a request.
func (l *Line) OK(q Call, payload ...[]byte) { l.Write(Frame(0, q.ID, payload...)) }

// Refuse refuses a request.
func (l *Line) Refuse(q Call, text string) {
	l.Write(Frame(1, q.ID, []byte{byte(len(text) >> 8), byte(len(text))}, []byte(text)))
}

// Push pushes fields.
func (l *Line) Push(code uint16, payload ...[]byte) { l.Write(Frame(2, code, payload...)) }

// Frame is an answer or a push, with the status and the request id or the code.
func Frame(first byte, id uint16, parts ...[]byte) []byte {
	var payload []byte
	for _, p := range parts {
		payload = append(payload, p...)
	}
	b := append([]byte{first}, byte(id>>8), byte(id))
	b = binary.BigEndian.AppendUint32(b, uint32(len(payload))) //nolint:gosec // of a test
	return append(b, payload...)
}

// ReadCall reads the next request.
func ReadCall(in *bufio.Reader) (Call, error) {
	var header [7]byte
	if _, err := io.ReadFull(in, header[:]); err != nil {
		return Call{}, err
	}
	payload := make([]byte, binary.BigEndian.Uint32(header[3:]))
	if _, err := io.ReadFull(in, payload); err != nil {
		return Call{}, err
	}
	return Call{header[0], binary.BigEndian.Uint16(header[1:]), parseFields(payload)}, nil
}

// Field encodes one field.
func Field(tag byte, value []byte) []byte {
	b := []byte{tag}
	n := len(value)
	for n >= 0x80 {
		b = append(b, byte(n)|0x80)
		n >>= 7
	}
	return append(append(b, byte(n)), value...)
}

// Number encodes a field of 8 bytes.
func Number(tag byte, n int64) []byte {
	return Field(tag, binary.BigEndian.AppendUint64(nil, uint64(n))) //nolint:gosec // of a test
}

func count(n int) []byte {
	return Field(0x31, binary.BigEndian.AppendUint32(nil, uint32(n))) //nolint:gosec // of a test
}

func parseFields(b []byte) map[byte][]byte {
	fields := make(map[byte][]byte)
	for len(b) > 1 {
		tag, n, shift := b[0], 0, 0
		b = b[1:]
		for {
			n |= int(b[0]&0x7f) << shift
			more := b[0] >= 0x80
			b, shift = b[1:], shift+7
			if !more {
				break
			}
		}
		fields[tag], b = b[:n], b[n:]
	}
	return fields
}

// Secret is the key of a group.
type Secret [32]byte

// Seal encrypts as a member does.
func (s Secret) Seal(text []byte) []byte {
	aead, err := chacha20poly1305.New(s[:])
	if err != nil {
		panic(err)
	}
	nonce := make([]byte, 12)
	_, _ = rand.Read(nonce)
	return aead.Seal(nonce, nonce, text, nil)
}

// Open decrypts.
func (s Secret) Open(blob []byte) ([]byte, error) {
	aead, err := chacha20poly1305.New(s[:])
	if err != nil {
		return nil, err
	}
	if len(blob) < 28 {
		return nil, errors.New("short")
	}
	return aead.Open(nil, blob[:12], blob[12:], nil)
}

// Inner is what is inside of a message.
type Inner struct {
	GUID        int64  `json:"guid"`
	PayloadSize int    `json:"payloadSize,omitempty"`
	ReplyTo     int64  `json:"replyTo,omitempty"`
	SendTime    int64  `json:"sendTime"`
	Type        int    `json:"type"`
	Payload     []byte `json:"-"`
}

// Message encrypts a message.
func (s Secret) Message(m Inner) []byte {
	m.PayloadSize = len(m.Payload)
	head, err := json.Marshal(m)
	if err != nil {
		panic(err)
	}
	b := make([]byte, 16)
	binary.BigEndian.PutUint32(b[4:], 1000)
	binary.BigEndian.PutUint64(b[8:], uint64(16+len(m.Payload))) //nolint:gosec // of a test
	b = binary.BigEndian.AppendUint32(b, uint32(len(head)))      //nolint:gosec // of a test
	return s.Seal(append(append(b, head...), m.Payload...))
}

// Text encrypts a text.
func (s Secret) Text(guid int64, text string) []byte {
	return s.Message(Inner{GUID: guid, Payload: []byte(text)})
}

// Read decrypts a message.
func (s Secret) Read(blob []byte) (m Inner, err error) {
	b, err := s.Open(blob)
	if err != nil || len(b) < 20 {
		return m, fmt.Errorf("open message of %d bytes: %w", len(blob), err)
	}
	n := int(binary.BigEndian.Uint32(b[16:]))
	if err := json.Unmarshal(b[20:20+n], &m); err != nil {
		return m, err
	}
	m.Payload = b[20+n:]
	return m, nil
}

// Profile encrypts a profile.
func (s Secret) Profile(name, info string, avatar []byte) []byte {
	b := binary.BigEndian.AppendUint16(nil, uint16(len(name))) //nolint:gosec // of a test
	b = append(b, name...)
	b = binary.BigEndian.AppendUint16(b, uint16(len(info))) //nolint:gosec // of a test
	b = append(b, info...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(avatar))) //nolint:gosec // of a test
	return s.Seal(append(b, avatar...))
}

// ReadProfile decrypts the name in a profile.
func (s Secret) ReadProfile(blob []byte) (name string, err error) {
	b, err := s.Open(blob)
	if err != nil || len(b) < 2 {
		return "", fmt.Errorf("open profile of %d bytes: %w", len(blob), err)
	}
	return string(b[2 : 2+int(binary.BigEndian.Uint16(b))]), nil
}
