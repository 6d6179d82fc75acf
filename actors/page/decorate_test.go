// SPDX-License-Identifier: MPL-2.0

//go:build browser

package page_test

import (
	"bytes"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/node"
)

// decorate adds what makes the pictures worth looking at: answers, a reaction, a message
// that waits, a voice message.
func (r *rig) decorate() {
	r.t.Helper()
	ctx := r.t.Context()
	chat := r.chats[0]
	all, err := r.api.ChatMessages(ctx, r.alice.ID, chat, control.Range{Limit: 50})
	if err != nil || len(all) == 0 {
		r.t.Fatalf("messages: %v", err)
	}
	first := all[len(all)-1]
	for _, text := range []control.Text{
		{Text: "Yes! I will bring the good microphone.", ReplyTo: first.GUID},
		{Text: "Save me a seat near the stage, please."},
	} {
		if _, err := r.api.Send(ctx, r.alice.ID, chat, text); err != nil {
			r.t.Fatal(err)
		}
	}
	for contact, name := range map[string]string{r.chats[1]: "Carol", r.mallory.Account.ID.String(): "Dave"} {
		if _, err := r.api.ChangeContact(ctx, r.alice.ID, contact, control.ContactChange{Name: &name}); err != nil {
			r.t.Fatal(err)
		}
	}
	if _, err := r.carol.Send(ctx, r.outgoing(r.carol, "See you there!")); err != nil {
		r.t.Fatal(err)
	}
	if _, err := r.api.React(ctx, r.alice.ID, chat, control.Reaction{Message: r.file.GUID, Emoji: "❤️"}); err != nil {
		r.t.Fatal(err)
	}
	voice, err := r.api.SendFile(ctx, r.alice.ID, chat, client.NewFile{Body: bytes.NewReader(sound()), Name: "voice.wav", Voice: true})
	if err != nil {
		r.t.Fatal(err)
	}
	r.eventually("all of it is delivered", func() bool {
		m, err := r.api.ChatMessage(ctx, r.alice.ID, chat, voice.ID)
		return err == nil && m.State == "delivered"
	})
}

// sound is a quarter of a second of silence.
func sound() []byte {
	const samples = 2000
	head := []byte("RIFF\x00\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data\x00\x00\x00\x00")
	head[4], head[5] = byte((samples+36)&255), byte((samples+36)>>8)
	head[40], head[41] = byte(samples&255), byte(samples>>8)
	return append(head, bytes.Repeat([]byte{128}, samples)...)
}

// newcomer is the address of an account without conversations.
func (r *rig) newcomer() string {
	r.t.Helper()
	a, err := r.api.CreateAccount(r.t.Context(), "newcomer")
	if err != nil {
		r.t.Fatal(err)
	}
	return "/a/" + a.ID
}

// outgoing is a text of a contact to alice.
func (r *rig) outgoing(from *actorstest.Node, text string) node.Outgoing {
	return node.Outgoing{Account: from.Account.ID, Contact: key(r.t, r.alice.ID), Payload: []byte(text)}
}
