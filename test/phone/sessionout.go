// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"errors"
	"fmt"
)

// Send sends frames as the phone's quirks want them.
func (s *Session) Send(frames ...Frame) error {
	q := s.r.quirks.Load()
	for _, f := range frames {
		if err := s.Err(); err != nil {
			return err // the line may be open still, see vanish
		}
		if q.UnknownFrames {
			if err := s.line.Send(unknownFrames()...); err != nil {
				return err
			}
		}
		if q.WrongSize && f.Size == nil {
			size := int64(headerSize + len(f.Bytes("payload")))
			f.Size = &size
		}
		if err := s.line.Send(f); err != nil {
			return err
		}
	}
	return nil
}

// unknownFrames are frames of types that are skipped after a handshake.
func unknownFrames() []Frame {
	negative := int64(-5)
	return []Frame{
		{Type: 7777, Body: []byte{1, 2, 3}},
		{Type: 7778},
		{Type: 1001, Body: make([]byte, headerSize)},
		{Type: 10, Body: []byte("{}")},
		{Type: 4001, Size: &negative},
		{Type: TypeChallenge2, Fields: Fields{"challenge": make([]byte, 32)}},
	}
}

// sendOutbox sends the messages that have not been acknowledged, in order and
// without waiting, each once in a session.
func (s *Session) sendOutbox() {
	sent := make(map[uint64]bool)
	for {
		for _, m := range s.r.outbox(s.contact) {
			if sent[m.number] {
				continue
			}
			if err := s.sendMessage(m.Message); err != nil {
				if errors.Is(err, errNoData) {
					continue // comes with the stream
				}
				s.end(fmt.Errorf("send message: %w", err))
				return
			}
			sent[m.number] = true
		}
		select {
		case <-s.work:
		case <-s.over:
			return
		}
	}
}

var errNoData = errors.New("no data stream")

func (s *Session) sendMessage(m Message) error {
	q := s.r.quirks.Load()
	times := 1
	if q.Duplicates {
		times = 2
	}
	for range times {
		if err := s.sendOnce(m); err != nil {
			return err
		}
	}
	return nil
}

// Answer sends a message once, past the outbox, as the app does with a file that it
// was asked for. It fails while a large one has no data stream to go over.
func (s *Session) Answer(m Message) error { return s.sendOnce(m) }

func (s *Session) sendOnce(m Message) error {
	q := s.r.quirks.Load()
	if len(m.Payload) <= maxControl || q.NoDataStream {
		return s.Send(m.frame(headerStyle{android: q.AndroidJSON, unknownKeys: q.UnknownKeys, noGUID: q.NoGUID}))
	}
	s.mu.Lock()
	data, err := s.data, s.err
	s.mu.Unlock()
	switch {
	case err != nil:
		return err
	case data == nil:
		return errNoData
	}
	return data.Send(m.dataFrame())
}
