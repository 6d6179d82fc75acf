// SPDX-License-Identifier: MPL-2.0

package overlay

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/Arceliar/ironwood/types"
	"github.com/yggdrasil-network/yggdrasil-go/src/core"

	"github.com/mimird/mimird/proto/identity"
)

// coreLayer is a Yggdrasil core as a PacketLayer. It uses the core's inner
// packet connection: the core's own methods add and demand a type byte that
// ygg_stream packets do not have.
type coreLayer struct {
	core   *core.Core
	key    identity.NodeKey
	logger *coreLogger
	grow   *stackGrow
	// wrote is when WritePacket was called last, in nanoseconds since 1970.
	wrote atomic.Int64
}

// newCore starts a Yggdrasil node without peers and listeners.
func newCore(key identity.NodePrivateKey, logger *slog.Logger) (*coreLayer, error) {
	if key.IsZero() {
		return nil, errors.New("start Yggdrasil: no node key")
	}
	cert, err := selfSigned(key.Ed25519())
	if err != nil {
		return nil, fmt.Errorf("make certificate of node key: %w", err)
	}
	l := &coreLogger{logger: logger}
	c, err := core.New(cert, l, core.NodeInfoPrivacy(true))
	if err != nil {
		return nil, fmt.Errorf("start Yggdrasil: %w", err)
	}
	return &coreLayer{core: c, key: identity.NodeKey(c.PublicKey()), logger: l, grow: newStackGrow()}, nil
}

// selfSigned makes the certificate that TLS and QUIC links show. Nobody checks
// it: node keys are exchanged inside the link.
func selfSigned(key ed25519.PrivateKey) (*tls.Certificate, error) {
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		Subject:      pkix.Name{CommonName: hex.EncodeToString(key.Public().(ed25519.PublicKey))},
		NotBefore:    time.Now().Add(-24 * time.Hour),
		NotAfter:     time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, err
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func (l *coreLayer) Key() identity.NodeKey { return l.key }

// ReadPacket implements PacketLayer. It also drives the node: Yggdrasil stops
// sending when nobody reads.
func (l *coreLayer) ReadPacket(buf []byte) (int, identity.NodeKey, error) {
	n, from, err := l.core.PacketConn.ReadFrom(buf)
	if err != nil {
		return 0, identity.NodeKey{}, fmt.Errorf("read from Yggdrasil: %w", err)
	}
	addr, ok := from.(types.Addr)
	if !ok || len(addr) != identity.KeySize {
		return 0, identity.NodeKey{}, fmt.Errorf("read from Yggdrasil: sender has address %q", from)
	}
	return n, identity.NodeKey(addr), nil
}

// WritePacket implements PacketLayer. Yggdrasil's actors encrypt and send the packet
// after it has returned.
func (l *coreLayer) WritePacket(packet []byte, to identity.NodeKey) error {
	l.wrote.Store(time.Now().UnixNano())
	if _, err := l.core.PacketConn.WriteTo(packet, types.Addr(to[:])); err != nil {
		return fmt.Errorf("write to Yggdrasil: %w", err)
	}
	return nil
}

func (l *coreLayer) Lookup(key identity.NodeKey) {
	l.core.SendLookup(ed25519.PublicKey(key[:]))
}

func (l *coreLayer) HasPath(key identity.NodeKey) bool {
	return slices.ContainsFunc(l.core.GetPaths(), func(p core.PathEntryInfo) bool {
		return bytes.Equal(p.Key, key[:])
	})
}

// Close implements PacketLayer. What was written just before leaves first.
func (l *coreLayer) Close() error {
	l.flush()
	l.core.Stop()
	l.grow.close()
	return nil
}

const (
	// flushRecent is the age of the last packet from which on all have left.
	flushRecent = 2 * time.Second
	// The links count as flushed when they have sent nothing in flushQuiet ticks; a node
	// that relays for others may never be, so flushLimit ticks end the wait.
	flushTick  = 10 * time.Millisecond
	flushQuiet = 5
	flushLimit = 50
)

// flush waits until the packets written last have left over the links, at most half a
// second. core.Stop closes the links with everything that still waits for them, and those
// packets are the ones that tell others that our streams have ended: without them they
// would notice only when their own keep-alive is not answered.
func (l *coreLayer) flush() {
	if time.Since(time.Unix(0, l.wrote.Load())) > flushRecent {
		return
	}
	tick := time.NewTicker(flushTick)
	defer tick.Stop()
	sent, quiet := l.sentBytes(), 0
	for range flushLimit {
		if quiet == flushQuiet || l.logger.links.Load() == 0 {
			return
		}
		<-tick.C
		quiet++
		if now := l.sentBytes(); now != sent {
			sent, quiet = now, 0
		}
	}
}

// sentBytes is how much the links have sent; 0 while one comes up, see peers.
func (l *coreLayer) sentBytes() uint64 {
	if !l.logger.quiet(time.Now(), 8*linkPause) {
		return 0
	}
	var sent uint64
	for _, p := range l.core.GetPeers() {
		sent += p.TXBytes
	}
	return sent
}

// coreLogger forwards Yggdrasil's log. Its texts are not constant, so they
// become a field.
//
// It also counts links. The core can be asked for them, but its answer has a
// data race with a link that comes up, and it waits for the core's actors.
type coreLogger struct {
	logger *slog.Logger
	links  atomic.Int32
	// changed is when a link came up or went down last, in nanoseconds since 1970.
	changed atomic.Int64

	mu sync.Mutex
	// ended are the addresses of listeners that have ended, at most maxEnded.
	ended []string
}

// maxEnded bounds the ended listeners that endedListeners has not returned yet. There
// are no more than in the configuration, and the keeper asks every second.
const maxEnded = 256

// endedListeners returns the addresses of listeners that have ended since it was
// called last. The core reports it in no other way: one error of accept, such as too
// many open files, ends a listener for good.
func (l *coreLogger) endedListeners() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ended := l.ended
	l.ended = nil
	return ended
}

// linkPause and linkPauses bound how long peers waits for quiet links.
const (
	linkPause  = 50 * time.Millisecond
	linkPauses = 40
)

// peers asks for the links. The core's answer has a data race with a link that
// comes up, in the latency, so links that have just changed are waited for.
func (l *coreLayer) peers() []core.PeerInfo {
	pause := time.NewTicker(linkPause)
	defer pause.Stop()
	for range linkPauses {
		if l.logger.quiet(time.Now(), 8*linkPause) {
			break
		}
		<-pause.C
	}
	return l.core.GetPeers()
}

// quiet says that no link has come up or gone down for d.
func (l *coreLogger) quiet(now time.Time, d time.Duration) bool {
	return now.UnixNano()-l.changed.Load() >= int64(d)
}

// The beginnings of what Yggdrasil 0.5.14 logs when a link comes up and, once
// for each, when it goes down; and what it logs when a listener has ended.
const (
	linkUp        = "Connected %s: "
	linkDown      = "Disconnected %s: "
	listenerEnded = "%s listener stopped on %s"
)

func (l *coreLogger) log(level slog.Level, text string) {
	if l.logger.Enabled(context.Background(), level) {
		l.logger.Log(context.Background(), level, "report of Yggdrasil", "text", strings.TrimSpace(text))
	}
}

func (l *coreLogger) Infof(format string, a ...any) {
	switch {
	case strings.HasPrefix(format, linkUp):
		l.links.Add(1)
		l.changed.Store(time.Now().UnixNano())
	case strings.HasPrefix(format, linkDown):
		l.links.Add(-1)
		l.changed.Store(time.Now().UnixNano())
	case format == listenerEnded && len(a) == 2:
		l.mu.Lock()
		if len(l.ended) < maxEnded {
			l.ended = append(l.ended, fmt.Sprint(a[1]))
		}
		l.mu.Unlock()
	}
	l.log(slog.LevelInfo, fmt.Sprintf(format, a...))
}

func (l *coreLogger) Printf(f string, a ...any) { l.log(slog.LevelInfo, fmt.Sprintf(f, a...)) }
func (l *coreLogger) Println(a ...any)          { l.log(slog.LevelInfo, fmt.Sprintln(a...)) }
func (l *coreLogger) Infoln(a ...any)           { l.log(slog.LevelInfo, fmt.Sprintln(a...)) }
func (l *coreLogger) Warnf(f string, a ...any)  { l.log(slog.LevelWarn, fmt.Sprintf(f, a...)) }
func (l *coreLogger) Warnln(a ...any)           { l.log(slog.LevelWarn, fmt.Sprintln(a...)) }
func (l *coreLogger) Errorf(f string, a ...any) { l.log(slog.LevelWarn, fmt.Sprintf(f, a...)) }
func (l *coreLogger) Errorln(a ...any)          { l.log(slog.LevelWarn, fmt.Sprintln(a...)) }
func (l *coreLogger) Debugf(f string, a ...any) { l.log(slog.LevelDebug, fmt.Sprintf(f, a...)) }
func (l *coreLogger) Debugln(a ...any)          { l.log(slog.LevelDebug, fmt.Sprintln(a...)) }
func (l *coreLogger) Traceln(...any)            {}
