// SPDX-License-Identifier: MPL-2.0

package budget_test

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"
	"time"

	"github.com/mimird/mimird/actors/overlay"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/poll"
)

// orderVariable holds, in the process of the phones, what they are to do.
const orderVariable = "MIMIRD_BUDGET_PHONES"

// order is for one process of phones, which share a Yggdrasil node.
type order struct {
	Peer  string // the node's Yggdrasil listener
	Node  identity.NodeKey
	Owner identity.PublicKey
	// Count is how many sessions are begun, by Contacts phones in turn, of which First
	// is the first.
	Count, Contacts, First int
	// Drop has every phone hang up when its session stands; otherwise all sessions
	// are held until the process is ended.
	Drop bool
}

// allCalled is what the phones say when all sessions stand.
const allCalled = "all phones have called"

func caller(i int) phone.Identity { return phone.IdentityOf(fmt.Sprint("caller ", i)) }

// atOnce is how many phones begin sessions at a time. A data stream belongs to the
// newest session with its node, so phones that share one and keep their sessions
// begin one after the other.
func (o order) atOnce() int {
	if o.Drop {
		return 6 // fewer than a node may have open
	}
	return 1
}

// obey is the main function of the phones.
func obey(text string) error {
	var o order
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	key, err := identity.GenerateNodePrivateKey(rand.Reader)
	if err != nil {
		return err
	}
	n, err := overlay.Open(overlay.Options{Key: key, Peers: []string{o.Peer}, Limits: overlay.Limits{Connections: 1 << 20}})
	if err != nil {
		return err
	}
	defer func() { _ = n.Close() }() // the process ends
	standing, err := dial(ctx, n, o.Node)
	if err != nil {
		return err
	}
	next := make(chan int)
	errs := make([]error, o.atOnce())
	var workers sync.WaitGroup
	for w := range errs {
		workers.Go(func() {
			for i := range next {
				errs[w] = errors.Join(errs[w], call(ctx, n, o, caller(o.First+i%o.Contacts)))
			}
		})
	}
	for i := range o.Count {
		next <- i
	}
	close(next)
	workers.Wait()
	standing.Close()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	if o.Drop {
		return hungUp(n)
	}
	fmt.Println(allCalled)
	<-ctx.Done()
	return nil
}

// hungUp waits until the other side knows that every stream has ended.
func hungUp(n *overlay.Network) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if !poll.Until(ctx, func() bool { return n.Status().Streams == 0 }) {
		return errors.New("streams do not end")
	}
	return nil
}

// dial opens a stream; the first ones get lost while the network looks for the way.
func dial(ctx context.Context, n *overlay.Network, to identity.NodeKey) (*phone.Line, error) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	for {
		line, err := phone.DialLine(ctx, n.Stream(), to)
		if err == nil || !errors.Is(err, overlay.ErrTimeout) || ctx.Err() != nil {
			return line, err
		}
	}
}

// call begins a session as an app does: the control stream, then the data stream.
func call(ctx context.Context, n *overlay.Network, o order, who phone.Identity) error {
	control, err := dial(ctx, n, o.Node)
	if err != nil {
		return err
	}
	if _, err := control.Write([]byte{phone.RoleControl}); err != nil {
		return err
	}
	if err := (&phone.Handshake{Identity: who, Receiver: phone.Key(o.Owner)}).Initiate(control); err != nil {
		return err
	}
	if o.Drop {
		control.Close()
		return nil
	}
	// The node's session stands when it speaks.
	if _, err := control.ReadFrame(time.Minute); err != nil {
		return err
	}
	data, err := dial(ctx, n, o.Node)
	if err != nil {
		return err
	}
	if _, err := data.Write([]byte{phone.RoleData}); err != nil {
		return err
	}
	go func() { // ends with the process
		for {
			f, err := control.ReadFrame(time.Hour)
			if err != nil {
				return
			}
			if f.Type == phone.TypePing {
				_ = control.Send(phone.Frame{Type: phone.TypePong})
			}
		}
	}()
	return nil
}
