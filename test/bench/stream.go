// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

const (
	streamPort   = 42
	streamRounds = 7
	bulkBytes    = 48 << 20
	bulkPacket   = 16 << 10
	quicPacket   = 1452 // the largest that the library of the apps sends
	bulkWindow   = 64 << 10
	pingBytes    = 100
	pingCount    = 2000
	// rawPatience is how long a round may take: raw packets are not repeated, and
	// on a busy machine links break.
	rawPatience = 20 * time.Second
)

// carrierBulk compares one stream with packets of the layer below: of the given
// size, 64 KiB under way, one small answer per packet.
func carrierBulk(ctx context.Context, kind overlay.Kind, packet int) (result, error) {
	p, err := newStreamPair(ctx, kind)
	if err != nil {
		return result{}, err
	}
	defer p.close()
	medians, err := p.rounds(
		func() (float64, error) { return p.streamRate(bulkBytes) },
		func() (float64, error) { return p.rawRate(ctx, bulkBytes, packet) },
	)
	if err != nil {
		return result{}, err
	}
	ours, raw := medians[0], medians[1]
	return result{
		ratio:    ours / raw,
		baseline: fmt.Sprintf("raw packets, %d bytes each, 64 KiB window", packet),
		detail:   fmt.Sprintf("ours %.0f MB/s, raw %.0f MB/s", ours/1e6, raw/1e6),
	}, nil
}

// carrierRTT compares the round trip of a small message with that of a packet of the
// layer below, of the given size. What one takes that is as small as the message is
// told as well.
func carrierRTT(ctx context.Context, kind overlay.Kind, packet int) (result, error) {
	p, err := newStreamPair(ctx, kind)
	if err != nil {
		return result{}, err
	}
	defer p.close()
	medians, err := p.rounds(
		func() (float64, error) { return p.streamPing() },
		func() (float64, error) { return p.rawPing(ctx, packet) },
		func() (float64, error) { return p.rawPing(ctx, pingBytes) },
	)
	if err != nil {
		return result{}, err
	}
	ours, raw, small := medians[0], medians[1], medians[2]
	detail := fmt.Sprintf("ours %.1f µs with %d bytes, raw %.1f µs", ours*1e6, pingBytes, raw*1e6)
	if packet != pingBytes {
		detail += fmt.Sprintf("; raw with %d bytes %.1f µs (%.2fx)", pingBytes, small*1e6, small/ours)
	}
	return result{ratio: raw / ours, baseline: fmt.Sprintf("raw packet ping, %d bytes", packet), detail: detail}, nil
}

// streamPair is two real Yggdrasil nodes with a link over loopback, a stream
// between them, and access to the packets below it.
type streamPair struct {
	networks [2]*overlay.Network
	layers   [2]*tapLayer
	conns    [2]overlay.Conn
}

func newStreamPair(ctx context.Context, kind overlay.Kind) (p *streamPair, err error) {
	p = &streamPair{}
	defer func() {
		if err != nil {
			p.close()
		}
	}()
	for i := range p.networks {
		key, err := identity.GenerateNodePrivateKey(rand.Reader)
		if err != nil {
			return nil, err
		}
		opts := overlay.Options{Key: key, LayerForTest: func(l overlay.PacketLayer) overlay.PacketLayer {
			p.layers[i] = &tapLayer{PacketLayer: l, packets: make(chan []byte, 64)}
			return p.layers[i]
		}}
		if i == 0 {
			opts.Listen = []string{"tcp://127.0.0.1:0"}
		} else {
			opts.Peers = p.networks[0].ListenAddrs()
		}
		if p.networks[i], err = overlay.Open(opts); err != nil {
			return nil, err
		}
	}
	var carriers [2]overlay.Carrier
	for i, n := range p.networks {
		if err := n.Enable(kind); err != nil {
			return nil, err
		}
		carriers[i], _ = n.CarrierOf(kind)
	}
	l, err := carriers[1].Listen(streamPort)
	if err != nil {
		return nil, err
	}
	if p.conns[0], err = dialPatiently(ctx, carriers[0], p.networks[1].Key()); err != nil {
		return nil, err
	}
	// A stream of QUIC shows when something was written.
	if _, err := p.conns[0].Write([]byte{0}); err != nil {
		return nil, err
	}
	if p.conns[1], err = l.Accept(ctx); err != nil {
		return nil, err
	}
	_, err = io.ReadFull(p.conns[1], make([]byte, 1))
	return p, err
}

// dialPatiently dials until the network between both nodes has settled.
func dialPatiently(ctx context.Context, c overlay.Carrier, to identity.NodeKey) (overlay.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for {
		conn, err := c.Dial(ctx, to, streamPort)
		if err == nil || !errors.Is(err, overlay.ErrTimeout) {
			return conn, err
		}
	}
}

func (p *streamPair) close() {
	for _, n := range p.networks {
		if n != nil {
			_ = n.Close()
		}
	}
}

// rounds measures all in turns and returns the medians.
func (p *streamPair) rounds(measures ...func() (float64, error)) ([]float64, error) {
	results := make([][]float64, len(measures))
	for range streamRounds {
		for i, measure := range measures {
			v, err := measure()
			for range streamRounds {
				if !errors.Is(err, errRawLost) {
					break
				}
				v, err = measure()
			}
			if err != nil {
				return nil, err
			}
			results[i] = append(results[i], v)
		}
	}
	medians := make([]float64, len(measures))
	for i, values := range results {
		medians[i] = median(values)
	}
	return medians, nil
}

var errRawLost = errors.New("raw packet was lost")

// streamPatience is how long a round may take: a stream that has stalled must not stop all
// figures behind it.
const streamPatience = 2 * time.Minute

// hurry sets the deadline of a round.
func (p *streamPair) hurry() error {
	until := time.Now().Add(streamPatience)
	return errors.Join(p.conns[0].SetDeadline(until), p.conns[1].SetDeadline(until))
}

// streamRate sends n bytes through the stream and returns bytes per second.
func (p *streamPair) streamRate(n int) (float64, error) {
	if err := p.hurry(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	start := time.Now()
	go func() {
		buf := make([]byte, 64<<10)
		for left := n; left > 0; {
			m, err := p.conns[1].Read(buf[:min(left, len(buf))])
			if err != nil {
				done <- err
				return
			}
			left -= m
		}
		done <- nil
	}()
	buf := make([]byte, 64<<10)
	for left := n; left > 0; left -= len(buf) {
		if _, err := p.conns[0].Write(buf); err != nil {
			return 0, err
		}
	}
	if err := <-done; err != nil {
		return 0, err
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

// rawRate sends n bytes in packets and returns bytes per second.
func (p *streamPair) rawRate(ctx context.Context, n, size int) (float64, error) {
	from, to := p.layers[0], p.layers[1]
	defer to.answer(ctx, 9, from)()
	ctx, cancel := context.WithTimeoutCause(ctx, rawPatience, errRawLost)
	defer cancel()
	packet := rawPacket(size)
	start := time.Now()
	sent, answered := 0, 0
	for answered < n/size {
		for ; sent < n/size && (sent-answered)*size < bulkWindow; sent++ {
			binary.BigEndian.PutUint64(packet[1:], uint64(sent))
			if err := from.WritePacket(packet, to.Key()); err != nil {
				return 0, err
			}
		}
		if _, err := from.next(ctx); err != nil {
			return 0, err
		}
		answered++
	}
	return float64(n) / time.Since(start).Seconds(), nil
}

// streamPing returns the median round trip in seconds.
func (p *streamPair) streamPing() (float64, error) {
	if err := p.hurry(); err != nil {
		return 0, err
	}
	done := make(chan error, 1)
	go func() {
		buf := make([]byte, pingBytes)
		for range pingCount {
			if _, err := io.ReadFull(p.conns[1], buf); err != nil {
				done <- err
				return
			}
			if _, err := p.conns[1].Write(buf); err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	buf := make([]byte, pingBytes)
	times := make([]float64, 0, pingCount)
	for range pingCount {
		start := time.Now()
		if _, err := p.conns[0].Write(buf); err != nil {
			return 0, err
		}
		if _, err := io.ReadFull(p.conns[0], buf); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start).Seconds())
	}
	return median(times), <-done
}

// rawPing returns the median round trip of packets of a size, in seconds.
func (p *streamPair) rawPing(ctx context.Context, size int) (float64, error) {
	from, to := p.layers[0], p.layers[1]
	defer to.answer(ctx, size, from)()
	ctx, cancel := context.WithTimeoutCause(ctx, rawPatience, errRawLost)
	defer cancel()
	packet := rawPacket(size)
	times := make([]float64, 0, pingCount)
	for range pingCount {
		start := time.Now()
		if err := from.WritePacket(packet, to.Key()); err != nil {
			return 0, err
		}
		if _, err := from.next(ctx); err != nil {
			return 0, err
		}
		times = append(times, time.Since(start).Seconds())
	}
	return median(times), nil
}

// rawMark is a first byte that no carrier takes for its own.
const rawMark = 0x45

func rawPacket(n int) []byte {
	packet := make([]byte, n)
	packet[0] = rawMark
	return packet
}

// tapLayer takes the benchmark's own packets out before the carriers see them.
// It reads as every user of the layer must: dispatch, never write.
type tapLayer struct {
	overlay.PacketLayer
	packets chan []byte
}

func (t *tapLayer) ReadPacket(buf []byte) (int, identity.NodeKey, error) {
	for {
		n, from, err := t.PacketLayer.ReadPacket(buf)
		if err != nil || n == 0 || buf[0] != rawMark {
			return n, from, err
		}
		select {
		case t.packets <- append([]byte(nil), buf[:n]...):
		default:
		}
	}
}

func (t *tapLayer) next(ctx context.Context) ([]byte, error) {
	select {
	case packet := <-t.packets:
		return packet, nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// answer sends the first n bytes of every packet back until stop is called.
func (t *tapLayer) answer(ctx context.Context, n int, to *tapLayer) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			packet, err := t.next(ctx)
			if err != nil || t.WritePacket(packet[:n], to.Key()) != nil {
				return
			}
		}
	}()
	return func() {
		cancel()
		<-done
		for _, l := range []*tapLayer{t, to} {
			for len(l.packets) > 0 {
				<-l.packets
			}
		}
	}
}

// streamFigures are the figures of the carriers.
func streamFigures() []figure {
	bulk := func(kind overlay.Kind, packet int) figure {
		return figure{name: string(kind) + "-bulk", measure: func(ctx context.Context) (result, error) {
			return carrierBulk(ctx, kind, packet)
		}}
	}
	rtt := func(kind overlay.Kind, packet int) figure {
		return figure{name: string(kind) + "-rtt", measure: func(ctx context.Context) (result, error) {
			return carrierRTT(ctx, kind, packet)
		}}
	}
	return []figure{
		bulk(overlay.KindStream, bulkPacket), rtt(overlay.KindStream, pingBytes),
		bulk(overlay.KindQUIC, quicPacket), rtt(overlay.KindQUIC, quicPacket),
		bulk(overlay.KindTCP, bulkPacket), rtt(overlay.KindTCP, pingBytes),
	}
}
