// SPDX-License-Identifier: MPL-2.0

package demo

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/bridge/bridgetest"
	"github.com/mimird/mimird/test/dendrite"
)

const (
	// atOnce is for what takes milliseconds, network is for what a fresh overlay
	// takes to find its ways, building for compiling a homeserver on a slow machine.
	atOnce   = 30 * time.Second
	network  = 2 * time.Minute
	building = 20 * time.Minute

	// burst is how many messages are on their way when the node is killed, and
	// killAfter how many of them have arrived by then.
	burst     = 60
	killAfter = 15
	// fromMatrix is how many are written in Matrix while the node is dead.
	fromMatrix = 5
)

const (
	firstText  = "Hello Alice, are you there?"
	answerText = "I am, and I read this in Matrix."
)

// steps is the story.
func (w *world) steps() []step {
	return []step{
		{"a Yggdrasil relay, a tracker and a mediator run on loopback", w.startNetwork, atOnce},
		{"two nodes run, each a process of its own", w.startNodes, atOnce},
		{"they add each other by their links", w.befriend, atOnce},
		{"Bob writes; his node finds Alice's through the tracker", w.resolve, network},
		{"both nodes have proved who they are to each other", w.authenticate, atOnce},
		{"the text is delivered: stored at Alice's before it was acknowledged", w.deliver, atOnce},
		{"a Matrix homeserver (Dendrite) runs", w.startHomeserver, building},
		{"Alice logs in to the bridge from Matrix", w.login, network},
		{"she reads the same text in a Matrix room", w.readInMatrix, network},
		{"she answers in Matrix; the answer arrives at Bob's node", w.answerFromMatrix, network},
		{"phones of gen1 and gen2 talk with her; all are in one space", w.threeGenerations, network},
		{"Alice's node is killed in the middle of a burst and started again", w.killAndRestart, network},
		{"everything has arrived, once and in order, in both directions", w.everythingOnce, network},
		{"a group on our mediator: Alice is invited, accepts, and both write", w.talkInGroup, network},
	}
}

func (w *world) startNetwork(ctx context.Context) (string, error) {
	if err := w.startRelay(); err != nil {
		return "", err
	}
	if err := errors.Join(w.startServers(ctx), w.startOldPhones()); err != nil {
		return "", err
	}
	return "relay " + w.relayURI() + ", tracker " + w.address.Node.Short() + ", mediator " + w.mediator.Short(), nil
}

func (w *world) startNodes(ctx context.Context) (string, error) {
	if err := w.makeAlice(ctx); err != nil {
		return "", err
	}
	var err error
	if w.bob, err = NewNode(w.opts.Program, w.dir, "bob", w.nodeConfig("stream", "")); err != nil {
		return "", err
	}
	for _, n := range []*Node{w.alice, w.bob} {
		if err := n.Start(ctx); err != nil {
			return "", err
		}
	}
	return w.alice.Account.Link, nil
}

func (w *world) befriend(ctx context.Context) (string, error) {
	for _, p := range [][2]*Node{{w.alice, w.bob}, {w.bob, w.alice}} {
		if _, err := p[0].Client.AddContact(ctx, "-", p[1].Account.Link); err != nil {
			return "", err
		}
	}
	return "", nil
}

func (w *world) resolve(ctx context.Context) (string, error) {
	m, err := w.bob.Client.Send(ctx, "-", w.alice.Account.ID, control.Text{Text: firstText, Source: "first"})
	if err != nil {
		return "", err
	}
	alice, err := w.alice.Client.Status(ctx)
	if err != nil {
		return "", err
	}
	err = until(ctx, "Bob's node is connected to Alice's", func() (bool, error) {
		c, err := w.bob.Contact(ctx, w.alice.Account.ID)
		return c.Online && c.Node == alice.Node, err
	})
	if err != nil {
		return "", err
	}
	bob, err := w.bob.Client.Status(ctx)
	if err != nil {
		return "", err
	}
	if len(bob.Trackers) != 1 || !bob.Trackers[0].Answers {
		return "", errors.New("and yet the tracker has not answered")
	}
	return fmt.Sprintf("message %s was %s meanwhile; Alice's node is %s…", m.ID, m.State, alice.Node[:16]), nil
}

func (w *world) authenticate(ctx context.Context) (string, error) {
	bob, err := w.bob.Client.Status(ctx)
	if err != nil {
		return "", err
	}
	err = until(ctx, "Alice's node knows Bob's", func() (bool, error) {
		c, err := w.alice.Contact(ctx, w.bob.Account.ID)
		return c.Online && c.Node == bob.Node, err
	})
	return fmt.Sprintf("Bob's node is %s…, and it is %d session for both", bob.Node[:16], bob.Sessions), err
}

func (w *world) deliver(ctx context.Context) (string, error) {
	err := until(ctx, "Bob's node has the acknowledgment", func() (bool, error) {
		page, err := w.bob.Client.Messages(ctx, "-", w.alice.Account.ID, 0, 1)
		return err == nil && len(page) == 1 && page[0].State == "delivered", err
	})
	if err != nil {
		return "", err
	}
	heard, err := w.alice.Heard(ctx, w.bob.Account.ID)
	if err == nil && !slices.Equal(heard, []string{firstText}) {
		err = fmt.Errorf("Alice's node has %q", heard) //nolint:staticcheck // begins with a name
	}
	return "", err
}

func (w *world) startHomeserver(ctx context.Context) (string, error) {
	var b built
	select {
	case b = <-w.building:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if b.err != nil {
		return "", b.err
	}
	server, err := dendrite.Start(ctx, dendrite.Options{
		Dir: w.dir + "/dendrite", Program: b.program, Address: w.homeserverAddress, Registrations: []string{w.registration()},
	})
	if err != nil {
		return "", err
	}
	w.homeserver = server
	if err := server.CreateUser(ctx, personName, personPassword, false); err != nil {
		return "", err
	}
	w.person, err = bridgetest.Login(ctx, server.URL(), personName, personPassword)
	return server.URL() + "; the bridge has waited for it", err
}

func (w *world) login(ctx context.Context) (string, error) {
	bot := id.NewUserID(botName, w.homeserver.ServerName())
	room, err := w.person.OpenDirect(ctx, bot)
	if err != nil {
		return "", fmt.Errorf("invite the bridge: %w", err)
	}
	if _, err := w.person.SendText(ctx, room, "login attach"); err != nil {
		return "", err
	}
	reply, err := w.person.Wait(ctx, func(e *event.Event) bool {
		return e.RoomID == room && e.Sender == bot && strings.Contains(e.Content.AsMessage().Body, "You use the Mimir identity")
	})
	if err != nil {
		return "", fmt.Errorf("wait for the bridge's answer: %w", err)
	}
	return firstLine(reply.Content.AsMessage().Body), nil
}

func (w *world) readInMatrix(ctx context.Context) (string, error) {
	e, err := w.person.WaitText(ctx, "", "", firstText)
	if err != nil {
		return "", err
	}
	w.room = e.RoomID
	return fmt.Sprintf("%s in %s", e.Sender, e.RoomID), nil
}

func (w *world) answerFromMatrix(ctx context.Context) (string, error) {
	if err := w.write(ctx, w.room, answerText); err != nil {
		return "", err
	}
	return "", until(ctx, "Bob's node has the answer", func() (bool, error) {
		heard, err := w.bob.Heard(ctx, w.alice.Account.ID)
		return slices.Equal(heard, []string{answerText}), err
	})
}

// killAndRestart sends the burst from Bob's side, kills Alice's node while it
// arrives, writes in Matrix while it is dead, and starts it again.
func (w *world) killAndRestart(ctx context.Context) (string, error) {
	for i := range burst {
		text := control.Text{Text: burstText(i), Source: burstText(i)}
		if _, err := w.bob.Client.Send(ctx, "-", w.alice.Account.ID, text); err != nil {
			return "", err
		}
	}
	var arrived []string
	err := until(ctx, "some of the burst has arrived", func() (bool, error) {
		var err error
		arrived, err = w.alice.Heard(ctx, w.bob.Account.ID)
		return len(arrived) >= 1+killAfter, err
	})
	if err != nil {
		return "", err
	}
	if err := w.alice.Kill(); err != nil {
		return "", err
	}
	inRoom, err := w.shown(ctx)
	if err != nil {
		return "", err
	}
	for i := range fromMatrix {
		if err := w.write(ctx, w.room, matrixText(i)); err != nil {
			return "", err
		}
	}
	if err := w.alice.Start(ctx); err != nil {
		return "", err
	}
	return fmt.Sprintf("killed with about %d of %d at the node and %d in the room", len(arrived)-1, burst, max(len(inRoom)-1, 0)), nil
}

func (w *world) everythingOnce(ctx context.Context) (string, error) {
	want := []string{firstText}
	for i := range burst {
		want = append(want, burstText(i))
	}
	answers := []string{answerText}
	for i := range fromMatrix {
		answers = append(answers, matrixText(i))
	}
	places := []struct {
		name string
		read func() ([]string, error)
		want []string
	}{
		{"Alice's node", func() ([]string, error) { return w.alice.Heard(ctx, w.bob.Account.ID) }, want},
		{"the Matrix room", func() ([]string, error) { return w.shown(ctx) }, want},
		{"Bob's node", func() ([]string, error) { return w.bob.Heard(ctx, w.alice.Account.ID) }, answers},
	}
	for _, p := range places {
		var have []string
		err := until(ctx, p.name+" has everything", func() (bool, error) {
			var err error
			have, err = p.read()
			return len(have) >= len(p.want), err
		})
		if err == nil && !slices.Equal(have, p.want) {
			err = fmt.Errorf("%s has something twice, or in another order: %q", p.name, have)
		}
		if err != nil {
			return "", fmt.Errorf("%w (%d of %d)", err, len(have), len(p.want))
		}
	}
	return fmt.Sprintf("%d messages from Bob and %d from Matrix: lost 0, doubled 0", len(want), len(answers)), nil
}

// write sends a text as Alice's Matrix client does: again under the same transaction
// id, while the homeserver is too busy to take it.
func (w *world) write(ctx context.Context, room id.RoomID, text string) error {
	content := &event.MessageEventContent{MsgType: event.MsgText, Body: text}
	transaction := mautrix.ReqSendEvent{TransactionID: w.person.Matrix.TxnID()}
	return until(ctx, "the homeserver takes a text", func() (bool, error) {
		_, err := w.person.Matrix.SendMessageEvent(ctx, room, event.EventMessage, content, transaction)
		var answer mautrix.HTTPError
		if errors.As(err, &answer) && answer.IsStatus(http.StatusInternalServerError) {
			return false, nil
		}
		return err == nil, err
	})
}

// shown returns what Bob has written in the room, as its server tells it.
func (w *world) shown(ctx context.Context) ([]string, error) {
	all, err := w.person.Timeline(ctx, w.room)
	if err != nil {
		return nil, err
	}
	var texts []string
	for _, e := range all {
		if e.Type == event.EventMessage && e.Sender != w.person.UserID() && e.Content.AsMessage().MsgType == event.MsgText {
			texts = append(texts, e.Content.AsMessage().Body)
		}
	}
	return texts, nil
}

func burstText(i int) string  { return fmt.Sprintf("burst %d", i) }
func matrixText(i int) string { return fmt.Sprintf("from Matrix %d", i) }

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}
