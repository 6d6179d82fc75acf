// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"sync"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// MediatorPort is where mediators listen.
const MediatorPort = 42

// TLV is a field of a frame of a mediator.
type TLV struct {
	Tag   byte
	Value []byte
}

// U64 makes a field of eight bytes.
func U64(tag byte, v uint64) TLV { return TLV{tag, binary.BigEndian.AppendUint64(nil, v)} }

// U32 makes a field of four bytes.
func U32(tag byte, v uint32) TLV { return TLV{tag, binary.BigEndian.AppendUint32(nil, v)} }

// U8 makes a field of one byte.
func U8(tag, v byte) TLV { return TLV{tag, []byte{v}} }

// MediatorFrame is an answer or a push.
type MediatorFrame struct {
	Status byte
	ID     uint16 // of the request, or the push code
	Body   []byte
}

// Fields returns the body as fields; nil when it is none.
func (f MediatorFrame) Fields() (fields []TLV) {
	if err := eachTLV(f.Body, func(tag byte, value []byte) { fields = append(fields, TLV{tag, value}) }); err != nil {
		return nil
	}
	return fields
}

// Get returns the first field with a tag, nil when there is none.
func (f MediatorFrame) Get(tag byte) []byte {
	for _, field := range f.Fields() {
		if field.Tag == tag {
			return field.Value
		}
	}
	return nil
}

// Number returns the first field with a tag as a number of eight bytes, 0 when it is none.
func (f MediatorFrame) Number(tag byte) uint64 {
	if v := f.Get(tag); len(v) == 8 {
		return binary.BigEndian.Uint64(v)
	}
	return 0
}

// Refusal returns the text of an error, "" of any other frame.
func (f MediatorFrame) Refusal() string {
	if f.Status != 1 || len(f.Body) < 2 || int(binary.BigEndian.Uint16(f.Body)) != len(f.Body)-2 {
		return ""
	}
	return string(f.Body[2:])
}

// MediatorClient is a connection to a mediator, as the app has it. Requests go out one
// after the other, pushes are collected.
type MediatorClient struct {
	conn net.Conn

	writing sync.Mutex
	last    uint16

	mu      sync.Mutex
	answers map[uint16]chan MediatorFrame
	pushes  []MediatorFrame
	err     error
	// counts says that pushes are counted and not collected.
	counts          bool
	counted, chosen int
	choose          func(MediatorFrame) bool
	ended           chan struct{}
	news            chan struct{} // closed and replaced with each push
}

// DialMediator connects to a mediator without logging in.
func DialMediator(ctx context.Context, carrier overlay.Carrier, mediator identity.NodeKey) (*MediatorClient, error) {
	conn, err := carrier.Dial(ctx, mediator, MediatorPort)
	if err != nil {
		return nil, err
	}
	return newMediatorClient(conn)
}

// newMediatorClient speaks over a connection that is there.
func newMediatorClient(conn net.Conn) (*MediatorClient, error) {
	c := &MediatorClient{conn: conn, answers: make(map[uint16]chan MediatorFrame), ended: make(chan struct{}), news: make(chan struct{})}
	if _, err := conn.Write([]byte{1, 0}); err != nil {
		return nil, err
	}
	go c.read()
	return c, nil
}

// Close ends the connection and waits for its reader.
func (c *MediatorClient) Close() {
	_ = c.conn.Close()
	if a, ok := c.conn.(interface{ Abort() error }); ok {
		_ = a.Abort()
	}
	<-c.ended
}

// Ended is closed when the connection has ended.
func (c *MediatorClient) Ended() <-chan struct{} { return c.ended }

func (c *MediatorClient) read() {
	in := bufio.NewReader(c.conn)
	for {
		f, err := readMediatorFrame(in)
		c.mu.Lock()
		switch {
		case err != nil:
			c.err = err
			close(c.ended)
		case f.Status == 2 && c.counts:
			if c.counted++; c.choose(f) {
				c.chosen++
			}
		case f.Status == 2:
			c.pushes = append(c.pushes, f)
			close(c.news)
			c.news = make(chan struct{})
		case c.answers[f.ID] != nil:
			c.answers[f.ID] <- f
			delete(c.answers, f.ID)
		}
		c.mu.Unlock()
		if err != nil {
			return
		}
	}
}

func readMediatorFrame(in io.Reader) (MediatorFrame, error) {
	var head [7]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return MediatorFrame{}, err
	}
	size := binary.BigEndian.Uint32(head[3:])
	if size > 50<<20 || head[0] > 2 {
		return MediatorFrame{}, errProtocol
	}
	body := make([]byte, size)
	_, err := io.ReadFull(in, body)
	return MediatorFrame{head[0], binary.BigEndian.Uint16(head[1:]), body}, err
}

// EncodeTLVs encodes fields.
func EncodeTLVs(fields ...TLV) (body []byte) {
	for _, f := range fields {
		body = appendTLV(body, f.Tag, f.Value)
	}
	return body
}

// Call sends a request and returns the answer, which may be a refusal.
func (c *MediatorClient) Call(ctx context.Context, command byte, fields ...TLV) (MediatorFrame, error) {
	return c.CallRaw(ctx, command, EncodeTLVs(fields...))
}

// CallRaw is Call with any body.
func (c *MediatorClient) CallRaw(ctx context.Context, command byte, body []byte) (MediatorFrame, error) {
	answer, err := c.Send(command, body)
	if err != nil {
		return MediatorFrame{}, err
	}
	return c.Answer(ctx, answer)
}

// Send sends a request; its answer comes over the channel.
func (c *MediatorClient) Send(command byte, body []byte) (<-chan MediatorFrame, error) {
	answer := make(chan MediatorFrame, 1)
	c.writing.Lock()
	defer c.writing.Unlock()
	if c.last++; c.last == 0 {
		c.last = 1
	}
	c.mu.Lock()
	c.answers[c.last] = answer
	c.mu.Unlock()
	b := binary.BigEndian.AppendUint16([]byte{command}, c.last)
	b = binary.BigEndian.AppendUint32(b, uint32(len(body)))
	_, err := c.conn.Write(append(b, body...))
	return answer, err
}

// Answer waits for what Send has promised.
func (c *MediatorClient) Answer(ctx context.Context, answer <-chan MediatorFrame) (MediatorFrame, error) {
	select {
	case f := <-answer:
		return f, nil
	case <-ctx.Done():
		return MediatorFrame{}, ctx.Err()
	case <-c.ended:
		select {
		case f := <-answer:
			return f, nil
		default:
		}
		return MediatorFrame{}, fmt.Errorf("the connection has ended: %w", c.err)
	}
}

// Login proves an identity.
func (c *MediatorClient) Login(ctx context.Context, id Identity) error {
	key := id.Key()
	f, err := c.Call(ctx, 0x01, TLV{0x01, key[:]})
	if err != nil {
		return err
	}
	nonce := f.Get(0x03)
	if len(nonce) != 32 {
		return fmt.Errorf("nonce of %d bytes: %s", len(nonce), f.Refusal())
	}
	f, err = c.Call(ctx, 0x02, TLV{0x01, key[:]}, TLV{0x03, nonce}, TLV{0x02, id.Sign(nonce)})
	if err == nil && f.Status != 0 {
		err = fmt.Errorf("login refused: %s", f.Refusal())
	}
	return err
}

// ProofOfWork searches the counter for which the signature over nonce and counter begins
// with two zero bytes.
func (i Identity) ProofOfWork(nonce []byte) (counter uint32, signature []byte) {
	for ; ; counter++ {
		signature = i.Sign(binary.BigEndian.AppendUint32(append([]byte(nil), nonce...), counter))
		if signature[0] == 0 && signature[1] == 0 {
			return counter, signature
		}
	}
}

// CreateChat creates a group and returns its id.
func (c *MediatorClient) CreateChat(ctx context.Context, id Identity, name, description string) (uint64, error) {
	key := id.Key()
	f, err := c.Call(ctx, 0x01, TLV{0x01, key[:]})
	if err != nil {
		return 0, err
	}
	nonce := f.Get(0x03)
	counter, signature := id.ProofOfWork(nonce)
	f, err = c.Call(ctx, 0x10, TLV{0x01, key[:]}, TLV{0x03, nonce}, U32(0x04, counter), TLV{0x02, signature},
		TLV{0x20, []byte(name)}, TLV{0x21, []byte(description)})
	if err == nil && f.Status != 0 {
		err = fmt.Errorf("group not created: %s", f.Refusal())
	}
	return f.Number(0x10), err
}

// Pushes returns the pushes so far.
func (c *MediatorClient) Pushes() []MediatorFrame {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]MediatorFrame(nil), c.pushes...)
}

// Count has pushes counted from now on and not collected, for tests with very many.
func (c *MediatorClient) Count(choose func(MediatorFrame) bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts, c.choose = true, choose
}

// Counted returns how many pushes came since Count, and how many of them it has chosen.
func (c *MediatorClient) Counted() (all, chosen int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counted, c.chosen
}

// Await waits for a push that fits, also one that has come already.
func (c *MediatorClient) Await(ctx context.Context, fits func(MediatorFrame) bool) (MediatorFrame, error) {
	for seen := 0; ; {
		c.mu.Lock()
		pushes, news := c.pushes, c.news
		c.mu.Unlock()
		for ; seen < len(pushes); seen++ {
			if fits(pushes[seen]) {
				return pushes[seen], nil
			}
		}
		select {
		case <-news:
		case <-c.ended:
			return MediatorFrame{}, fmt.Errorf("the connection has ended: %w", c.err)
		case <-ctx.Done():
			return MediatorFrame{}, ctx.Err()
		}
	}
}
