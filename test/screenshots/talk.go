// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"fmt"
	"strings"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/appservice"
	"maunium.net/go/mautrix/event"
	"maunium.net/go/mautrix/id"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

// login has Alice use her node's account in Matrix.
func (w *world) login(ctx context.Context) error {
	bot := id.NewUserID(botName, w.homeserver.ServerName())
	room, err := w.user.OpenDirect(ctx, bot)
	if err != nil {
		return fmt.Errorf("invite the bridge: %w", err)
	}
	if err := w.giveBotPicture(ctx, bot); err != nil {
		return fmt.Errorf("give the bridge's bot a picture: %w", err)
	}
	if _, err := w.user.SendText(ctx, room, "login attach"); err != nil {
		return err
	}
	_, err = w.user.Wait(ctx, func(e *event.Event) bool {
		return e.RoomID == room && e.Sender == bot && strings.Contains(e.Content.AsMessage().Body, "You use the Mimir identity")
	})
	return err
}

// giveBotPicture is what an operator does once, in the configuration.
func (w *world) giveBotPicture(ctx context.Context, bot id.UserID) error {
	registration, err := appservice.LoadRegistration(w.registration())
	if err != nil {
		return err
	}
	client, err := mautrix.NewClient(w.homeserver.URL(), bot, registration.AppToken)
	if err != nil {
		return err
	}
	client.SetAppServiceUserID = true
	picture, err := client.UploadBytesWithName(ctx, well(), "image/png", "mimir.png")
	if err != nil {
		return err
	}
	return client.SetAvatarURL(ctx, picture.ContentURI)
}

// talk is the conversation with Bob. Every line waits for the one before to be
// on the other side, so that they come in this order.
func (w *world) talk(ctx context.Context) error {
	if err := w.bobWrites(ctx, "Good morning! I am up at the hut already.", ""); err != nil {
		return err
	}
	picture := client.NewFile{Body: bytes.NewReader(landscape()), Name: "morning.png", Caption: "From the terrace, ten minutes ago"}
	if _, err := w.bob.Client.SendFile(ctx, "-", w.alice.Account.ID, picture); err != nil {
		return fmt.Errorf("send the picture: %w", err)
	}
	shown, err := w.user.Wait(ctx, func(e *event.Event) bool {
		return e.RoomID == w.room && e.Type == event.EventMessage && e.Content.AsMessage().MsgType == event.MsgImage
	})
	if err != nil {
		return fmt.Errorf("wait for the picture: %w", err)
	}
	reply := (&event.MessageEventContent{MsgType: event.MsgText, Body: "What a light! Is there still snow on the pass?"})
	reply.SetReply(shown)
	heard, err := w.aliceWrites(ctx, reply)
	if err != nil {
		return err
	}
	if _, err := w.user.Matrix.SendReaction(ctx, w.room, shown.ID, "😍"); err != nil {
		return err
	}
	if err := w.bobWrites(ctx, "A little, but the path is dry.", heard.GUID); err != nil {
		return err
	}
	if err := w.bobSpeaks(ctx); err != nil {
		return fmt.Errorf("send the voice message: %w", err)
	}
	heard, err = w.aliceWrites(ctx, &event.MessageEventContent{MsgType: event.MsgText, Body: "Then I take the early train and bring bread and cheese."})
	if err != nil {
		return err
	}
	if _, err := w.bob.Client.React(ctx, "-", w.alice.Account.ID, control.Reaction{Message: heard.GUID, Emoji: "😋"}); err != nil {
		return fmt.Errorf("react: %w", err)
	}
	if _, err := w.user.Wait(ctx, func(e *event.Event) bool {
		return e.RoomID == w.room && e.Type == event.EventReaction && e.Sender != w.user.UserID()
	}); err != nil {
		return fmt.Errorf("wait for the reaction: %w", err)
	}
	_, err = w.aliceWrites(ctx, &event.MessageEventContent{MsgType: event.MsgText, Body: "See you at noon!"})
	return err
}

// bobWrites sends a text from Bob's node and waits for it in Matrix.
func (w *world) bobWrites(ctx context.Context, text, replyTo string) error {
	if _, err := w.bob.Client.Send(ctx, "-", w.alice.Account.ID, control.Text{Text: text, ReplyTo: replyTo}); err != nil {
		return err
	}
	e, err := w.user.Wait(ctx, func(e *event.Event) bool {
		return e.Type == event.EventMessage && strings.HasSuffix(e.Content.AsMessage().Body, text)
	})
	if err != nil {
		return fmt.Errorf("wait for %.32q: %w", text, err)
	}
	w.room = e.RoomID
	return nil
}

// bobSpeaks sends a voice message from Bob's node and waits for it in Matrix.
func (w *world) bobSpeaks(ctx context.Context) error {
	voice := client.NewFile{Body: bytes.NewReader(hum()), Name: "voice.wav", Voice: true}
	if _, err := w.bob.Client.SendFile(ctx, "-", w.alice.Account.ID, voice); err != nil {
		return err
	}
	_, err := w.user.Wait(ctx, func(e *event.Event) bool {
		return e.RoomID == w.room && e.Type == event.EventMessage && e.Content.AsMessage().MSC3245Voice != nil
	})
	return err
}

// aliceWrites sends a message from Matrix and waits for it at Bob's node.
func (w *world) aliceWrites(ctx context.Context, content *event.MessageEventContent) (heard control.Message, err error) {
	body := content.Body
	if _, err := w.user.Matrix.SendMessageEvent(ctx, w.room, event.EventMessage, content); err != nil {
		return heard, err
	}
	return heard, until(ctx, "Bob's node has the message", func() (bool, error) {
		page, err := w.bob.Client.Messages(ctx, "-", w.alice.Account.ID, 0, 1)
		if err != nil || len(page) == 0 || page[0].Direction != "in" || page[0].Text != body {
			return false, err
		}
		heard = page[0]
		return true, nil
	})
}

// request has Carol, a stranger, ask to be Alice's contact, and Alice accept
// by writing to her.
func (w *world) request(ctx context.Context) error {
	const text = "Hi Alice, this is Carol from the choir. Bob gave me your link."
	if _, err := w.carol.Client.RequestContact(ctx, "-", w.alice.Account.Link, text); err != nil {
		return err
	}
	e, err := w.user.WaitText(ctx, "", "", text)
	if err != nil {
		return err
	}
	w.carolRoom = e.RoomID
	if err := w.waitAsked(ctx, "asks to be your contact"); err != nil {
		return err
	}
	if _, err := w.user.SendText(ctx, w.carolRoom, "Hello Carol! Yes, he told me about you."); err != nil {
		return err
	}
	if err := w.waitAsked(ctx, "Carol is your contact now"); err != nil {
		return err
	}
	if err := until(ctx, "Carol's node has the answer", func() (bool, error) {
		heard, err := w.carol.Heard(ctx, w.alice.Account.ID)
		return len(heard) > 0, err
	}); err != nil {
		return err
	}
	const thanks = "Nice! We sing on Thursday at seven, in the old school. Will you come?"
	if _, err := w.carol.Client.Send(ctx, "-", w.alice.Account.ID, control.Text{Text: thanks}); err != nil {
		return err
	}
	return w.waitAsked(ctx, thanks)
}

// waitAsked waits for a message in the room with Carol.
func (w *world) waitAsked(ctx context.Context, text string) error {
	_, err := w.user.Wait(ctx, func(e *event.Event) bool {
		return e.RoomID == w.carolRoom && e.Type == event.EventMessage && strings.Contains(e.Content.AsMessage().Body, text)
	})
	if err != nil {
		return fmt.Errorf("wait for %.32q: %w", text, err)
	}
	return nil
}
