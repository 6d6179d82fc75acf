// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net"
)

// The frame types of gen1 and gen2, by their numbers in the apps.
const (
	OldHello            = 1
	OldChallenge        = 2
	OldChallengeAnswer  = 3
	OldChallenge2       = 4
	OldChallengeAnswer2 = 5
	OldInfoRequest      = 6
	OldInfoResponse     = 7
	OldPing             = 8
	OldPong             = 9
	OldMessage          = 1000
	OldCallOffer        = 2000
	OldCallAnswer       = 2001
	OldCallHang         = 2002
	OldOK               = 32767
)

// Old is a connection of an app of gen1 or gen2, step by step: it does what it
// is told, in any order, as those apps would. Its caller sets deadlines.
type Old struct {
	net.Conn
	Identity Identity
	// Remote is who should be at the other end.
	Remote Key
	// SubnetAddr is the address that Dial says, of an app of gen1 behind a router;
	// nil for none.
	SubnetAddr []byte
	// Sizes are the size fields of what was read, by type.
	Sizes map[int]int64
}

// OldFrame is a frame that was read. Its fields are those of its type.
type OldFrame struct {
	Type int
	// ID of an OK, time of INFO_REQUEST and INFO_RESPONSE.
	ID int64
	// Data of a challenge or an answer to one, nickname of INFO_RESPONSE, error of
	// CALL_ANSWER, payload of a message.
	Data []byte
	// Header is the JSON of a message.
	Header string
	// Yes is the flag of CALL_ANSWER.
	Yes bool
}

// NewOld speaks over a connection that has just been opened.
func NewOld(conn net.Conn, id Identity, remote Key) *Old {
	return &Old{Conn: conn, Identity: id, Remote: remote, Sizes: make(map[int]int64)}
}

// Put writes a frame with any size field, in one piece.
func (o *Old) Put(kind int, size int64, body []byte) error {
	b := binary.BigEndian.AppendUint32(make([]byte, 4), uint32(kind))
	b = binary.BigEndian.AppendUint64(b, uint64(size))
	_, err := o.Write(append(b, body...))
	return err
}

// Hello introduces us. address is what gen1 adds behind a router, or nil.
func (o *Old) Hello(address []byte) error {
	own := o.Identity.Key()
	b := oldBlob(oldBlob([]byte{0, 0, 0, 1}, own[:]), o.Remote[:])
	b = append(b, 0xa1, 0xb2, 0xc3, 0xd4)
	if address != nil {
		b = oldBlob(b, address)
	}
	return o.Put(OldHello, int64(len(b)), b)
}

// Challenge asks the other side to sign something: kind says in which role.
func (o *Old) Challenge(kind int, value []byte) error {
	b := oldBlob(nil, value)
	return o.Put(kind, int64(len(b)), b)
}

// Answer signs a challenge.
func (o *Old) Answer(kind int, challenge []byte) error {
	return o.Challenge(kind, o.Identity.Sign(challenge))
}

// OK acknowledges a message, or with 0 a half of the handshake.
func (o *Old) OK(id int64) error {
	return o.Put(OldOK, 8, binary.BigEndian.AppendUint64(nil, uint64(id)))
}

// Dial runs the handshake as the one who has dialled.
func (o *Old) Dial() error {
	if err := o.Hello(o.SubnetAddr); err != nil {
		return err
	}
	f, err := o.Expect(OldChallenge)
	if err != nil {
		return err
	}
	if err := o.Answer(OldChallengeAnswer, f.Data); err != nil {
		return err
	}
	if _, err := o.Expect(OldOK); err != nil {
		return err
	}
	own := sha256.Sum256([]byte("a challenge of the phone"))
	if err := o.Challenge(OldChallenge2, own[:]); err != nil {
		return err
	}
	if f, err = o.Expect(OldChallengeAnswer2); err != nil {
		return err
	}
	if !o.Remote.Verify(own[:], f.Data) {
		return fmt.Errorf("the other side is not %s", o.Remote)
	}
	return o.OK(0)
}

// Accept runs the handshake as the one who was dialled. With ask, gen1
// asks for the profile in the middle of it.
func (o *Old) Accept(ask bool) error {
	if _, err := o.Expect(OldHello); err != nil {
		return err
	}
	own := sha256.Sum256([]byte("another challenge of the phone"))
	if err := o.Challenge(OldChallenge, own[:]); err != nil {
		return err
	}
	f, err := o.Expect(OldChallengeAnswer)
	if err != nil {
		return err
	}
	if !o.Remote.Verify(own[:], f.Data) {
		return fmt.Errorf("who dials is not %s", o.Remote)
	}
	if err := o.OK(0); err != nil {
		return err
	}
	if ask {
		if err := o.Put(OldInfoRequest, 8, make([]byte, 8)); err != nil {
			return err
		}
	}
	if f, err = o.Expect(OldChallenge2); err != nil {
		return err
	}
	if err := o.Answer(OldChallengeAnswer2, f.Data); err != nil {
		return err
	}
	_, err = o.Expect(OldOK)
	return err
}

// Say sends a message. header is the JSON without braces and payloadSize; size is
// what the size field says.
func (o *Old) Say(header string, payload []byte, size int64) error {
	if len(payload) > 0 {
		header += fmt.Sprintf(`,"payloadSize":%d`, len(payload))
	}
	return o.Put(OldMessage, size, append(oldBlob(nil, []byte("{"+header+"}")), payload...))
}

// Picture is the payload of a picture: its description and the file.
func Picture(caption string, file []byte) []byte {
	sum := sha256.Sum256(file)
	return append(oldBlob(nil, fmt.Appendf(nil, `{"name":"Ab3dEf6hIj9kLm2n.jpg","size":%d,"hash":"%s","text":"%s"}`,
		len(file), hex.EncodeToString(sum[:]), caption)), file...)
}

// Expect reads frames until one of that type comes. Pings are answered, and what
// else comes before is passed over.
func (o *Old) Expect(kind int) (OldFrame, error) {
	for {
		f, err := o.Next()
		if err != nil {
			return f, fmt.Errorf("wait for type %d: %w", kind, err)
		}
		if f.Type == kind {
			return f, nil
		}
		if f.Type == OldPing {
			if err := o.Put(OldPong, 0, nil); err != nil {
				return f, err
			}
		}
	}
}

// Next reads a frame by the lengths inside of it, as the apps do. A type that they
// do not know is an error: they would lose their place in the stream.
func (o *Old) Next() (f OldFrame, err error) {
	head := make([]byte, 16)
	if _, err := io.ReadFull(o, head); err != nil {
		return f, err
	}
	f.Type = int(binary.BigEndian.Uint32(head[4:]))
	o.Sizes[f.Type] = int64(binary.BigEndian.Uint64(head[8:]))
	switch f.Type {
	case OldHello:
		size := 80
		if o.Sizes[f.Type] > 80 {
			size = int(o.Sizes[f.Type])
		}
		f.Data, err = o.take(size)
	case OldChallenge, OldChallengeAnswer, OldChallenge2, OldChallengeAnswer2:
		f.Data, err = o.blob()
	case OldInfoRequest, OldOK:
		f.ID, err = o.int64()
	case OldInfoResponse:
		if f.ID, err = o.int64(); err == nil {
			f.Data, err = o.blob()
		}
		for range 2 { // info and avatar
			if err == nil {
				_, err = o.blob()
			}
		}
	case OldMessage:
		err = o.message(&f)
	case OldCallAnswer:
		var flag []byte
		if flag, err = o.take(1); err == nil {
			f.Yes = flag[0] != 0
			f.Data, err = o.blob()
		}
	case OldPing, OldPong, OldCallHang:
	default:
		err = fmt.Errorf("a frame of type %d, which the apps cannot read", f.Type)
	}
	return f, err
}

func (o *Old) message(f *OldFrame) error {
	header, err := o.blob()
	if err != nil {
		return err
	}
	f.Header = string(header)
	var fields struct{ PayloadSize int }
	if err := json.Unmarshal(header, &fields); err != nil {
		return fmt.Errorf("read message header: %w", err)
	}
	if fields.PayloadSize > 0 {
		f.Data, err = o.take(fields.PayloadSize)
	}
	return err
}

func (o *Old) blob() ([]byte, error) {
	n, err := o.take(4)
	if err != nil {
		return nil, err
	}
	return o.take(int(binary.BigEndian.Uint32(n)))
}

func (o *Old) int64() (int64, error) {
	b, err := o.take(8)
	if err != nil {
		return 0, err
	}
	return int64(binary.BigEndian.Uint64(b)), nil
}

func (o *Old) take(n int) ([]byte, error) {
	if n < 0 || n > math.MaxInt32/32 {
		return nil, fmt.Errorf("a length of %d", n)
	}
	b := make([]byte, n)
	_, err := io.ReadFull(o, b)
	return b, err
}

func oldBlob(b, v []byte) []byte {
	return append(binary.BigEndian.AppendUint32(b, uint32(len(v))), v...)
}
