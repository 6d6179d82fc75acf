// SPDX-License-Identifier: MPL-2.0

package legacy_test

import (
	"bufio"
	"crypto/rand"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/legacy"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
)

// mostlyRandom draws challenges; nothing here depends on them.
func security() peer.Security {
	return peer.Security{Guard: identity.KeyGuard(), Random: rand.Reader}
}

func initiator(g legacy.Generation) *legacy.Handshake {
	return g.NewHandshake(peer.NewInitiator(peer.InitiatorConfig{
		Key: alice(), Remote: bob().Public(), ClientID: 7, Security: security(),
	}))
}

func acceptor(g legacy.Generation) *legacy.Handshake {
	return g.NewHandshake(peer.NewAcceptor(peer.AcceptorConfig{
		Lookup: func(id identity.PublicKey) (identity.PrivateKey, bool) {
			return bob(), id == bob().Public()
		},
		Security: security(),
	}))
}

// end is one side of a connection in memory.
type end struct {
	net.Conn
	reader *bufio.Reader
}

func pipe(t *testing.T) (a, b end) {
	t.Helper()
	x, y := net.Pipe()
	for _, c := range []net.Conn{x, y} {
		if err := c.SetDeadline(time.Now().Add(2 * time.Minute)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	return end{x, bufio.NewReader(x)}, end{y, bufio.NewReader(y)}
}

// run drives a handshake to its end, and through the decision in its middle.
func run(h *legacy.Handshake, e end) error {
	p, err := h.Start()
	for err == nil {
		var event peer.Event
		if event, err = h.Drive(e.reader, e, p); err != nil || event == peer.EventDone {
			break
		}
		p, err = h.Proceed()
	}
	return err
}

func TestHandshake(t *testing.T) {
	for _, g := range []legacy.Generation{legacy.Gen1, legacy.Gen2} {
		a, b := pipe(t)
		dialler, listener := initiator(g), acceptor(g)
		done := make(chan error, 1)
		go func() { done <- run(listener, b) }()
		if err := run(dialler, a); err != nil {
			t.Errorf("%v: %v", g, err)
		}
		if err := <-done; err != nil {
			t.Errorf("%v: %v", g, err)
		}
		if dialler.Remote() != bob().Public() || listener.Remote() != alice().Public() || dialler.Asked() != nil || listener.Address().IsValid() {
			t.Errorf("%v: the sides have not proved what they should", g)
		}
	}
}

// appAcceptor answers as the apps do; between the halves it says something else.
func appAcceptor(e end, between []byte) error {
	read := func(want peer.FrameType) (peer.Frame, error) {
		f, err := peer.ReadHandshakeFrame(e.reader)
		if err == nil && f.FrameType() != want {
			err = wire.NewViolation(wire.CodeFrameType, "%d", f.FrameType())
		}
		return f, err
	}
	if _, err := read(peer.FrameHello); err != nil {
		return err
	}
	if _, err := e.Write(peer.Challenge{Challenge: identity.Challenge{1}}.AppendTo(nil)); err != nil {
		return err
	}
	if _, err := read(peer.FrameChallengeAnswer); err != nil {
		return err
	}
	if _, err := e.Write(append(peer.OK{}.AppendTo(nil), between...)); err != nil {
		return err
	}
	f, err := read(peer.FrameChallenge2)
	if err != nil {
		return err
	}
	sig, err := bob().SignChallenge(f.(peer.Challenge2).Challenge, identity.Seal{}, identity.KeyGuard())
	if err != nil {
		return err
	}
	if _, err := e.Write(peer.ChallengeAnswer2{Signature: sig}.AppendTo(nil)); err != nil {
		return err
	}
	_, err = read(peer.FrameOK)
	return err
}

// Quirk: the acceptor of gen1 asks for the profile before it has proved
// anything.
func TestHandshakeKeepsTheEarlyQuestion(t *testing.T) {
	ask := peer.InfoRequest{Since: 5}.AppendTo(nil)
	dial := func(g legacy.Generation, between []byte) (*legacy.Handshake, error) {
		a, b := pipe(t)
		h := initiator(g)
		done := make(chan error, 1)
		go func() { done <- appAcceptor(b, between) }()
		err := run(h, a)
		_ = a.Close()
		<-done
		return h, err
	}
	h, err := dial(legacy.Gen1, ask)
	if err != nil || h.Asked() == nil || h.Asked().Since != 5 {
		t.Errorf("asked %+v, error %v", h.Asked(), err)
	}
	if _, err := dial(legacy.Gen1, append(ask, ask...)); wire.ViolationCode(err) != wire.CodeFrameType {
		t.Errorf("asked twice: error %v", err)
	}
	if _, err := dial(legacy.Gen2, ask); wire.ViolationCode(err) != wire.CodeFrameType {
		t.Errorf("asked in gen2: error %v", err)
	}
	message, err := legacy.Gen1.Append(nil, peer.Message{GUID: 1, Payload: []byte("forged")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dial(legacy.Gen1, message); wire.ViolationCode(err) != wire.CodeFrameType {
		t.Errorf("a message before authentication: error %v", err)
	}
}

// Quirk: gen2 pings in every state.
func TestHandshakeAnswersPings(t *testing.T) {
	for pings, wantCode := range map[int]string{1: "", 4: "", 5: wire.CodeFrameType} {
		a, b := pipe(t)
		h := acceptor(legacy.Gen2)
		done := make(chan error, 1)
		go func() {
			_, err := h.Start()
			if err == nil {
				_, err = h.Drive(b.reader, b, peer.Progress{})
			}
			_ = b.Close()
			done <- err
		}()
		answered := 0
		for range pings {
			if _, err := a.Write(peer.Ping{}.AppendTo(nil)); err != nil {
				break
			}
			if f, err := peer.ReadFrame(a.reader, peer.Limits{}); err != nil || f != (peer.Pong{}) {
				break
			}
			answered++
		}
		_ = a.Close()
		if err := <-done; wire.ViolationCode(err) != wantCode || answered != min(pings, 4) {
			t.Errorf("%d pings, %d answered: error %v", pings, answered, err)
		}
	}
}

func TestHandshakeReadsTheAddressOfGeneration1(t *testing.T) {
	for _, v := range load(t, frameVectors) {
		if v.Name != "hello_subnet_address" {
			continue
		}
		h := acceptor(legacy.Gen1)
		a, b := pipe(t)
		go func() {
			_, _ = a.Write(v.bytes(t)) // the reader sees what is missing
			_, _ = peer.ReadHandshakeFrame(a.reader)
			_ = a.Close()
		}()
		_ = run(h, b) // ends where the vector ends
		address := netip.MustParseAddr(v.text("address"))
		if h.Address() != address || h.Hello().Sender != alice().Public() || h.Hello().ClientID != 0xa1b2c3d4 {
			t.Errorf("address %v of %+v", h.Address(), h.Hello())
		}
	}
}

func TestHandshakeSaysTheAddressBehindARouter(t *testing.T) {
	behind := netip.MustParseAddr("308:62:45:62::5")
	for own, said := range map[netip.Addr]bool{behind: true, netip.MustParseAddr("208:62:45:62::5"): false, {}: false} {
		a, b := pipe(t)
		h, other := initiator(legacy.Gen1), acceptor(legacy.Gen1)
		h.ClaimAddress(own)
		done := make(chan error, 1)
		go func() { done <- run(h, a) }()
		if err := errors.Join(run(other, b), <-done); err != nil {
			t.Errorf("%v: %v", own, err)
		}
		if got := other.Address(); got.IsValid() != said || said && got != behind {
			t.Errorf("said %v, want %v: %v", got, own, said)
		}
	}
	// gen2 has node keys in its place.
	h := initiator(legacy.Gen2)
	h.ClaimAddress(behind)
	p, err := h.Start()
	if err != nil {
		t.Fatal(err)
	}
	a, b := pipe(t)
	_ = b.Close()
	if _, err := h.Drive(a.reader, a, p); err == nil {
		t.Error("nobody is there")
	}
}

func TestInSubnetOf(t *testing.T) {
	node := netip.MustParseAddr("208:62:45:62:59b8:f1a2:62ca:f87c")
	for claimed, want := range map[string]bool{
		"308:62:45:62::5":     true,
		"308:62:45:62:1::9":   true,
		"308:62:45:63::5":     false,
		"208:62:45:62::5":     false,
		"318:62:45:62::5":     false,
		"2001:db8::1":         false,
		"::ffff:3.8.0.98":     false,
		"3.8.0.98":            false,
		"308:62:45:62::5%eth": true,
	} {
		if got := legacy.InSubnetOf(netip.MustParseAddr(claimed), node); got != want {
			t.Errorf("%s: %v", claimed, got)
		}
	}
	if legacy.InSubnetOf(netip.Addr{}, node) || legacy.InSubnetOf(netip.MustParseAddr("308:62:45:62::5"), netip.Addr{}) {
		t.Error("no address lies behind a node")
	}
}

// The apps draw challenges that anybody can foretell from the clock.
func TestChallengesAreNotPredictable(t *testing.T) {
	before := time.Now().UnixMilli()
	h := acceptor(legacy.Gen1)
	a, b := pipe(t)
	done := make(chan error, 1)
	go func() {
		done <- run(h, b)
		_ = b.Close()
	}()
	if _, err := a.Write(peer.Hello{Version: 1, Sender: alice().Public(), Receiver: bob().Public()}.AppendTo(nil)); err != nil {
		t.Fatal(err)
	}
	f, err := peer.ReadHandshakeFrame(a.reader)
	challenge, ok := f.(peer.Challenge)
	if err != nil || !ok {
		t.Fatalf("%+v, error %v", f, err)
	}
	_ = a.Close()
	<-done
	for ms := before - 1000; ms <= time.Now().UnixMilli()+1000; ms++ {
		if javaBytes(ms) == [32]byte(challenge.Challenge) {
			t.Fatal("the challenge is that of the apps")
		}
	}
}
