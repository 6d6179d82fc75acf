// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"
)

// What a caller does, and when, as the apps do.
const (
	// CallUnit is how long one packet of audio plays.
	CallUnit = 1024 * time.Second / 44_100
	// callPing is the time between two pings in a call, callSilence how long the other side
	// may be silent: only PONG and other frames count, not PING.
	callPing    = 2 * time.Second
	callSilence = 3500 * time.Millisecond
)

// CallConfig is the first packet of a call: the codec configuration.
func CallConfig() []byte { return []byte{0x12, 0x08} }

var (
	errDeclined = errors.New("the call was declined")
	errSilent   = errors.New("nothing heard in a call")
	errNoVoice  = errors.New("not a voice message")
)

// Call is a call that the phone makes.
type Call struct {
	s     *Session
	first int // frames of the page before the call
}

// Call calls somebody over the session that there is, or dials one.
func (p *Phone) Call(ctx context.Context, to Key) (*Call, error) {
	s := p.Session(to)
	if s == nil {
		var err error
		if s, err = p.Dial(ctx, to); err != nil {
			return nil, err
		}
	}
	c := &Call{s: s, first: len(p.Page(to).Frames)}
	if err := s.Send(Frame{Type: TypeCallOffer, Fields: Fields{"mime": "audio/aac", "rate": 44_100, "channels": 1}}); err != nil {
		return nil, err
	}
	s.r.spawn(c.watch)
	return c, nil
}

// watch pings while the call lasts, and ends the session when it hears nothing.
func (c *Call) watch() {
	for c.s.pause(callPing) {
		if c.Over() {
			return
		}
		c.s.mu.Lock()
		heard := c.s.real
		if c.s.ponged.After(heard) {
			heard = c.s.ponged
		}
		c.s.mu.Unlock()
		if c.Answered() && time.Since(heard) > callSilence {
			c.s.end(errSilent)
			return
		}
		if c.s.pingUnless() != nil {
			return
		}
	}
}

// frames are those that have come since the call began.
func (c *Call) frames() []Frame { return c.s.r.Page(c.s.contact.key).Frames[c.first:] }

// Answered reports whether the call was accepted.
func (c *Call) Answered() bool {
	for _, f := range c.frames() {
		if f.Type == TypeCallAnswer && f.Int("ok") != 0 {
			return true
		}
	}
	return false
}

// Over reports whether the other side has declined the call or hung up, or the session has
// ended.
func (c *Call) Over() bool {
	for _, f := range c.frames() {
		if f.Type == TypeCallHang || f.Type == TypeCallAnswer && f.Int("ok") == 0 {
			return true
		}
	}
	return c.s.Err() != nil
}

// Await waits until the call is answered.
func (c *Call) Await(ctx context.Context) error {
	if err := c.s.r.Await(ctx, func() bool { return c.Answered() || c.Over() }); err != nil {
		return err
	}
	if !c.Answered() {
		return errDeclined
	}
	return nil
}

// Heard are the packets of the other side, in order.
func (c *Call) Heard() [][]byte {
	var packets [][]byte
	for _, f := range c.frames() {
		if f.Type == TypeCallPacket {
			packets = append(packets, f.Bytes("data"))
		}
	}
	return packets
}

// Say sends packets as fast as they play. It stops early when the call is over.
func (c *Call) Say(packets ...[]byte) error {
	for _, data := range packets {
		if c.Over() {
			return nil
		}
		if err := c.Send(data); err != nil {
			return err
		}
		if !c.s.pause(CallUnit) {
			return c.s.Err()
		}
	}
	return nil
}

// Send sends a packet at once.
func (c *Call) Send(data []byte) error {
	return c.s.Send(Frame{Type: TypeCallPacket, Fields: Fields{"data": data}})
}

// HangUp ends the call.
func (c *Call) HangUp() error { return c.s.Send(Frame{Type: TypeCallHang}) }

// VoiceUnits returns the packets of a voice message, an MPEG-4 file with one chunk, as a
// player finds them: by the table of their sizes and the place of the chunk.
func VoiceUnits(file []byte) ([][]byte, error) {
	table := func(kind string, skip int) ([]byte, error) {
		for at := 0; at+8 <= len(file); at++ {
			if string(file[at:at+4]) == kind && at >= 4 {
				if end := at - 4 + int(binary.BigEndian.Uint32(file[at-4:])); end <= len(file) && end >= at+4+skip {
					return file[at+4+skip : end], nil
				}
			}
		}
		return nil, fmt.Errorf("%w: no %s", errNoVoice, kind)
	}
	if len(file) < 12 || string(file[4:12]) != "ftypM4A " {
		return nil, errNoVoice
	}
	sizes, err := table("stsz", 12)
	if err != nil {
		return nil, err
	}
	place, err := table("stco", 8)
	if err != nil || len(place) != 4 {
		return nil, errors.Join(err, errNoVoice)
	}
	at := int(binary.BigEndian.Uint32(place))
	var units [][]byte
	for ; len(sizes) >= 4; sizes = sizes[4:] {
		size := int(binary.BigEndian.Uint32(sizes))
		if at+size > len(file) {
			return nil, fmt.Errorf("%w: unit %d is behind the end", errNoVoice, len(units))
		}
		units = append(units, file[at:at+size])
		at += size
	}
	if at != len(file) {
		return nil, fmt.Errorf("%w: %d bytes behind the audio", errNoVoice, len(file)-at)
	}
	return units, nil
}
