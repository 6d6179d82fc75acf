// SPDX-License-Identifier: MPL-2.0

package phone

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
)

// patience is how long a step waits for its condition.
const patience = 30 * time.Second

// Env is where a script runs.
type Env struct {
	// Carrier is the phone's place in the overlay. Nobody else may use its port 42,
	// nor, when the script announces the phone, its port 69.
	Carrier overlay.Carrier
	// Node is where the node under test is, Owner who it is.
	Node  identity.NodeKey
	Owner Key
	// Trackers that node and phone share.
	Trackers []identity.NodeKey
	// Contact makes somebody a contact of the owner.
	Contact func(Key)
	// Say writes to somebody in the owner's name.
	Say func(to Key, text string)
	// Heard returns all messages that the node has from somebody, in order.
	Heard func(from Key) []string
}

// Run runs a script. Its phone is IdentityOf("phone").
func Run(t testing.TB, s Script, env Env) {
	t.Helper()
	if err := runScript(t.Context(), s, env, t.Logf); err != nil {
		t.Fatal(err)
	}
}

// conversation is a script that is being run.
type conversation struct {
	Env
	ctx      context.Context
	phone    Identity
	listener overlay.Listener
	vars     variables
	streams  map[string]*scriptStream
}

// scriptStream is a stream that a script has given a name.
type scriptStream struct {
	*Line
	dialled bool
	ignored map[Type]bool
}

func runScript(ctx context.Context, s Script, env Env, log func(string, ...any)) error {
	listener, err := env.Carrier.Listen(Port)
	if err != nil {
		return err
	}
	defer func() { _ = listener.Close() }()
	phone := IdentityOf("phone")
	key, at := phone.Key(), env.Carrier.Key()
	c := &conversation{
		Env: env, ctx: ctx, phone: phone, listener: listener, streams: make(map[string]*scriptStream),
		vars: variables{
			"phone": key[:], "node": env.Owner[:], "phone.at": at[:], "node.at": env.Node[:], "phone identity": phone,
		},
	}
	defer func() {
		for stream := range maps.Values(c.streams) {
			stream.Abort()
		}
	}()
	for _, step := range s.steps {
		log("%s:%d: %s", s.file, step.line, step.text)
		if err := c.do(step.words); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", s.file, step.line, step.text, err)
		}
	}
	return nil
}

// do carries out one step.
func (c *conversation) do(words []string) error {
	verb, args := words[0], words[1:]
	if stream, ok := c.streams[verb]; ok && len(args) > 0 {
		return c.onStream(stream, args[0], args[1:])
	}
	switch {
	case verb == "contact" && len(args) == 0:
		c.Contact(c.phone.Key())
		return nil
	case verb == "announce" && len(args) == 0:
		return Announce(c.ctx, c.Carrier, c.Trackers, c.phone)
	case verb == "dial" && len(args) == 1:
		return c.open(args[0], true)
	case verb == "accept" && len(args) == 1:
		return c.open(args[0], false)
	case verb == "handshake" && len(args) == 1 && c.streams[args[0]] != nil:
		return c.handshake(c.streams[args[0]])
	case verb == "pause" && len(args) == 1:
		d, err := time.ParseDuration(args[0])
		if err == nil {
			sleep(c.ctx, d)
		}
		return err
	case verb == "let" && len(args) >= 3 && args[1] == "=":
		value, err := c.vars.call(args[2:])
		c.vars[args[0]] = value
		return err
	case verb == "signed" && len(args) == 3:
		return c.signed(args[0], args[1], args[2])
	case verb == "say" && len(args) == 1:
		text, err := c.vars.bytes(args[0])
		if err == nil {
			c.Say(c.phone.Key(), string(text))
		}
		return err
	case verb == "heard":
		return c.heard(args)
	}
	return errors.New("no such step")
}

func (c *conversation) onStream(s *scriptStream, verb string, args []string) error {
	switch {
	case verb == ">" && len(args) > 0:
		b, err := c.vars.encode(args)
		if err != nil {
			return err
		}
		_, err = s.Write(b)
		return unlessReset(err)
	case verb == "drip" && len(args) > 1:
		pause, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		b, err := c.vars.encode(args[1:])
		if err != nil {
			return err
		}
		return unlessReset(s.Drip(c.ctx, b, pause))
	case verb == "<" && len(args) > 0:
		return c.expect(s, args)
	case verb == "ignores" && len(args) > 0:
		for _, word := range args {
			t, ok := typeOf(word)
			if !ok {
				return fmt.Errorf("%s is not a type", word)
			}
			s.ignored[t] = true
		}
		return nil
	case verb == "silent" && len(args) == 1:
		d, err := time.ParseDuration(args[0])
		if err != nil {
			return err
		}
		if err = s.ended(d); errors.Is(err, os.ErrDeadlineExceeded) {
			return nil
		} else if err == nil {
			err = errors.New("the stream has ended")
		}
		return err
	case verb == "ends" && len(args) <= 1:
		d := patience
		var err error
		if len(args) == 1 {
			d, err = time.ParseDuration(args[0])
		}
		if err != nil {
			return err
		}
		return s.ended(d)
	case verb == "close" && len(args) == 0:
		s.Close()
		return nil
	case verb == "reset" && len(args) == 0:
		s.Abort()
		return nil
	}
	return errors.New("no such step")
}

// unlessReset takes it well when the node has ended the stream while the phone was
// sending. The next step says whether it should have.
func unlessReset(err error) error {
	if errors.Is(err, overlay.ErrReset) {
		return nil
	}
	return err
}

// ended waits until the other side ends the stream.
func (s *scriptStream) ended(within time.Duration) error {
	deadline := time.Now().Add(within)
	for {
		f, err := s.ReadFrame(time.Until(deadline))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return fmt.Errorf("the stream is open after %v: %w", within, err)
		case errors.Is(err, errProtocol):
			return err
		case err != nil:
			return nil //nolint:nilerr // it has ended, in whatever way
		case !s.ignored[f.Type]:
			return fmt.Errorf("%v has come", f.Type)
		}
	}
}

// expect reads what has to come: frames and bytes, in order.
func (c *conversation) expect(s *scriptStream, words []string) error {
	for _, item := range items(words) {
		if len(item) == 0 {
			return errors.New("nothing beside +")
		}
		var err error
		if t, ok := typeOf(item[0]); ok {
			err = c.expectFrame(s, t, item[1:])
		} else {
			err = c.expectBytes(s, item)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *conversation) expectFrame(s *scriptStream, want Type, words []string) error {
	for {
		read := s.ReadFrame
		if want == typeData {
			read = s.ReadData
		}
		f, err := read(patience)
		if err != nil {
			return fmt.Errorf("wait for %v: %w", want, err)
		}
		if f.Type == want {
			return c.vars.match(f, words)
		}
		if !s.ignored[f.Type] {
			return fmt.Errorf("%v has come: %v", f.Type, f.Fields)
		}
	}
}

func (c *conversation) expectBytes(s *scriptStream, words []string) error {
	for _, word := range words {
		if name, length, ok := strings.Cut(word, ":"); ok && strings.HasPrefix(name, "?") {
			n, err := strconv.Atoi(length)
			if err != nil {
				return err
			}
			b, err := s.ReadBytes(n, patience)
			if err != nil {
				return err
			}
			c.vars[name[1:]] = b
			continue
		}
		want, err := c.vars.bytes(word)
		if err != nil {
			return err
		}
		got, err := s.ReadBytes(len(want), patience)
		if err != nil {
			return fmt.Errorf("wait for %s: %w", word, err)
		}
		if !bytes.Equal(got, want) {
			return fmt.Errorf("%x has come instead of %s", got, word)
		}
	}
	return nil
}

func (c *conversation) open(name string, dial bool) error {
	ctx, cancel := context.WithTimeout(c.ctx, patience)
	defer cancel()
	var l *Line
	if dial {
		var err error
		if l, err = DialLine(ctx, c.Carrier, c.Node); err != nil {
			return err
		}
	} else {
		conn, err := c.listener.Accept(ctx)
		if err != nil {
			return err
		}
		l = NewLine(conn)
	}
	c.streams[name] = &scriptStream{Line: l, dialled: dial, ignored: make(map[Type]bool)}
	return nil
}

func (c *conversation) handshake(s *scriptStream) error {
	h := &Handshake{Identity: c.phone, Receiver: c.Owner}
	if s.dialled {
		if _, err := s.Write([]byte{RoleControl}); err != nil {
			return err
		}
		return h.Initiate(s.Line)
	}
	role, err := s.ReadBytes(1, patience)
	if err != nil {
		return err
	}
	if role[0] != RoleControl {
		return fmt.Errorf("role byte %02x", role[0])
	}
	if err := h.Accept(s.Line); err != nil {
		return err
	}
	if h.Remote != c.Owner {
		return fmt.Errorf("the node has proved to be %v", h.Remote)
	}
	return nil
}

func (c *conversation) signed(signature, who, message string) error {
	sig, err := c.vars.bytes(signature)
	if err != nil {
		return err
	}
	msg, err := c.vars.bytes(message)
	if err != nil {
		return err
	}
	key := c.Owner
	if who != "node" {
		key = c.vars.somebody(who).Key()
	}
	if !key.Verify(msg, sig) {
		return errors.New("it is not")
	}
	return nil
}

// heard waits until the node has the messages that the script names.
func (c *conversation) heard(words []string) error {
	var want []string
	for _, word := range words {
		text, err := c.vars.bytes(word)
		if err != nil {
			return err
		}
		want = append(want, string(text))
	}
	var heard []string
	for deadline := time.Now().Add(patience); ; {
		heard = c.Heard(c.phone.Key())
		if slices.Equal(heard, want) {
			return nil
		}
		if len(heard) > len(want) || time.Now().After(deadline) || !sleep(c.ctx, patience/1000) {
			return fmt.Errorf("it has %d: %s", len(heard), strconv.Quote(fmt.Sprint(heard)))
		}
	}
}
