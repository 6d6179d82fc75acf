// SPDX-License-Identifier: MPL-2.0

package mediatorlink

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/mediator"
	"github.com/mimird/mimird/proto/wire"
)

const (
	// dialTime and loginTime are the reference client's.
	dialTime  = 10 * time.Second
	loginTime = 15 * time.Second
	// writeTime is how long the mediator may take nothing of a write.
	writeTime = 30 * time.Second
	// loginAttempts is how often a login is retried at once that failed because
	// another client asked for a nonce of this identity.
	loginAttempts = 5
	readBuffer    = 16 << 10
	// maxLoginAnswer is the payload of an answer to GET_NONCE and AUTH.
	maxLoginAnswer = 4 << 10
)

// connection is what the goroutines of one connection share with the actor.
type connection struct {
	conn overlay.Conn
	in   *bufio.Reader
	// out has the encoded requests. The actor never sends more than maxInFlight before
	// the answers, which is its capacity: sending does not block.
	out chan []byte
	// read counts the bytes that arrived.
	read atomic.Int64
	// answers bounds the answers that the actor has not looked at.
	answers *kernel.Credits
	// missed counts the invites among the pushes that found no credit; missing says that
	// the actor has been told of such pushes and has not looked yet.
	missed  atomic.Int64
	missing atomic.Bool
}

// Messages of the goroutines to their actor.
type (
	loggedIn struct{ *connection }
	answered struct {
		*connection
		answer mediator.Answer
	}
	pushed struct {
		push mediator.Push
		size int64
	}
	// oversized is an answer that is not read.
	oversized struct {
		*connection
		id   uint16
		size int
	}
	// dropped says that pushes found no credit, or were too large.
	dropped struct{ *connection }
)

// Read counts what arrives, for the reader of the answers.
func (c *connection) Read(p []byte) (int, error) {
	n, err := c.conn.Read(p)
	c.read.Add(int64(n))
	return n, err
}

// connect dials the mediator and logs in.
func connect(ctx context.Context, deps Deps) (*connection, error) {
	carrier, ok := deps.Network.Carrier(overlay.KindStream)
	if !ok {
		return nil, overlay.ErrNoCarrier
	}
	dialCtx, cancel := context.WithTimeout(ctx, dialTime)
	defer cancel()
	conn, err := carrier.Dial(dialCtx, deps.Mediator, mediator.Port)
	if err != nil {
		return nil, fmt.Errorf("dial mediator: %w", err)
	}
	c := &connection{conn: conn, out: make(chan []byte, maxInFlight), answers: kernel.NewCredits(maxInFlight, int64(deps.MaxAnswer))}
	c.in = bufio.NewReaderSize(c, readBuffer)
	stop := context.AfterFunc(ctx, func() { _ = conn.Abort() }) // ends a blocked read
	defer stop()
	if err := c.login(deps); err != nil {
		_ = conn.Abort() // nothing of it is of use
		return nil, fmt.Errorf("log in at mediator: %w", err)
	}
	return c, nil
}

func (c *connection) login(deps Deps) error {
	if err := c.conn.SetDeadline(time.Now().Add(loginTime)); err != nil {
		return err
	}
	opening := mediator.Opening[:]
	for attempt := 1; ; attempt++ {
		err := c.authenticate(deps, opening)
		var refused *mediator.ServerError
		if err == nil {
			return c.conn.SetDeadline(time.Time{})
		}
		if attempt == loginAttempts || !errors.As(err, &refused) || !refused.NonceReplaced() {
			return err
		}
		opening = nil
	}
}

// authenticate asks for a nonce and signs it. opening goes before the first request.
func (c *connection) authenticate(deps Deps, opening []byte) error {
	var nonce mediator.Nonce
	if err := c.call(opening, &mediator.GetNonce{Identity: deps.Key.Public()}, &nonce); err != nil {
		return err
	}
	signature, err := deps.Key.SignServerNonce(nonce.Nonce, deps.Guard)
	if err != nil {
		return err
	}
	return c.call(nil, &mediator.Auth{Identity: deps.Key.Public(), Nonce: nonce.Nonce, Signature: signature}, nil)
}

// call sends one request and reads its answer, before the login: there are no pushes
// yet, but for those of invites, which follow the answer to AUTH.
func (c *connection) call(opening []byte, q mediator.Request, result mediator.Result) error {
	const id = 1
	if _, err := c.conn.Write(mediator.AppendRequest(opening, id, q)); err != nil {
		return err
	}
	answer, err := mediator.ReadAnswer(c.in, maxLoginAnswer)
	switch {
	case err != nil:
		return err
	case answer.IsPush() || answer.ID != id:
		return wire.NewViolation(wire.CodeCommand, "answer %d during the login", answer.ID)
	}
	return answer.Parse(result)
}

// serve connects, and reads and writes until the connection ends.
func serve(ctx context.Context, deps Deps, pushes, invites *kernel.Credits, inbox kernel.Inbox) error {
	c, err := connect(ctx, deps)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(ctx, func() { _ = c.conn.Abort() })
	defer stop()
	if !inbox.Tell(loggedIn{c}) {
		return ctx.Err()
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		cancel(kernel.Protect(func() error { return c.write(ctx) }))
	}()
	err = c.readAnswers(ctx, deps.MaxAnswer, pushes, invites, inbox)
	cancel(err)
	<-written
	if cause := context.Cause(ctx); cause != nil && !errors.Is(cause, context.Canceled) {
		return cause
	}
	return err
}

// write sends the requests until ctx ends.
func (c *connection) write(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case request := <-c.out:
			if err := c.conn.SetWriteDeadline(time.Now().Add(writeTime)); err != nil {
				return err
			}
			if _, err := c.conn.Write(request); err != nil {
				return fmt.Errorf("write to mediator: %w", err)
			}
		}
	}
}

// skip reads over an answer or a push that is too large, and tells the actor before, as that
// takes a while.
func (c *connection) skip(head mediator.AnswerHead, inbox kernel.Inbox) error {
	switch {
	case head.Status != mediator.StatusPush:
		inbox.Tell(oversized{c, head.ID, head.Size})
	case !c.missing.Swap(true):
		inbox.Tell(dropped{c})
	}
	return head.Skip(c.in)
}

// readAnswers tells the actor what arrives until the connection ends.
func (c *connection) readAnswers(ctx context.Context, limit int, pushes, invites *kernel.Credits, inbox kernel.Inbox) error {
	for {
		head, err := mediator.ReadAnswerHead(c.in)
		if violation, ok := errors.AsType[*wire.Violation](err); ok && violation.Code == wire.CodeLength {
			return fmt.Errorf("%w: %w", ErrTooLarge, err)
		}
		if err == nil && head.Size > limit {
			if err = c.skip(head, inbox); err == nil {
				continue
			}
		}
		if err != nil {
			return fmt.Errorf("read from mediator: %w", err)
		}
		answer, err := head.Answer(c.in)
		if err != nil {
			return fmt.Errorf("read from mediator: %w", err)
		}
		if !answer.IsPush() {
			if err := c.answers.Acquire(ctx, int64(answer.Size())); err != nil {
				return err
			}
			inbox.Tell(answered{c, answer})
			continue
		}
		push, err := answer.Push()
		if err != nil {
			return fmt.Errorf("read push of mediator: %w", err)
		}
		if push == nil {
			continue // of a later version
		}
		_, invite := push.(*mediator.GotInvite)
		credits := pushes
		if invite {
			credits = invites
		}
		size := int64(answer.Size())
		if credits.TryAcquire(size) {
			inbox.Tell(pushed{push, size})
			continue
		}
		if invite {
			c.missed.Add(1)
		}
		if !c.missing.Swap(true) {
			inbox.Tell(dropped{c})
		}
	}
}
