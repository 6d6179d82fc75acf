// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

// maxText is the longest text that a message carries.
const maxText = 1 << 20

func newSend(f *flags) *cobra.Command {
	var wait time.Duration
	var source, file string
	var voice bool
	cmd := &cobra.Command{
		Use:   "send CONVERSATION [TEXT...]",
		Short: "Send a text or a file",
		Long: "Queues a text for a conversation: " + conversationHelp + "\n" +
			"Without a text it is read from standard input. The text is safe as soon as this command returns; it is\n" +
			"delivered when the contact can be reached, or the mediator of the group. With --wait it waits for that; when the\n" +
			"time runs out it prints the id of the message all the same, and ends with exit code 7.\n\n" +
			"With --file it queues a file, and the text is its caption. The file is encrypted and put on the file server\n" +
			"of the configuration first; what you send after it arrives after it.",
		Args:              atLeastOne("CONVERSATION and a text"),
		ValidArgsFunction: f.completeConversation,
		RunE: func(cmd *cobra.Command, args []string) error {
			text := strings.Join(args[1:], " ")
			if file != "" {
				return sendFile(cmd, f, args[0], file, client.NewFile{Caption: text, Voice: voice, Source: source}, wait)
			}
			if len(args) == 1 {
				var err error
				if text, err = readText(cmd.InOrStdin()); err != nil {
					return err
				}
			}
			if err := checkText(text); err != nil {
				return err
			}
			return send(cmd.Context(), f, cmd.OutOrStdout(), args[0], control.Text{Text: text, Source: source}, wait)
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 0, "wait that long for it to be delivered")
	cmd.Flags().StringVar(&file, "file", "", "send this file, - for standard input")
	cmd.Flags().BoolVar(&voice, "voice", false, "send the file as a voice message")
	cmd.Flags().StringVar(&source, "source", "", "makes repeating safe: the same source queues one message")
	return cmd
}

// readText reads a text to its end, without the line ends there.
func readText(in io.Reader) (string, error) {
	// The two bytes more tell a line end that is too much from a text that is.
	raw, err := io.ReadAll(io.LimitReader(in, maxText+2)) //nolint:forbidigo // through a limit
	if err != nil {
		return "", fmt.Errorf("read standard input: %w", err)
	}
	if len(raw) > maxText+1 {
		return "", errTextLong
	}
	return strings.TrimRight(string(raw), "\n"), nil
}

var errTextLong = fmt.Errorf("the text is longer than %d bytes; send it in parts", maxText)

// checkText refuses what would be sent as something else, or not at all.
func checkText(text string) error {
	switch {
	case text == "":
		return errors.New("the text is empty; give it after the conversation, or on standard input")
	case len(text) > maxText:
		return errTextLong
	case !utf8.ValidString(text):
		return errors.New("the text is not valid UTF-8; convert it first, for example with iconv")
	}
	return nil
}

// errWaiting says that a message was not delivered in time.
var errWaiting = errors.New("the message is safe, and is delivered as soon as it can be; mimird status says what it waits for")

func send(ctx context.Context, f *flags, out io.Writer, conversation string, text control.Text, wait time.Duration) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	defer api.Close()
	m, err := api.Send(ctx, f.account, conversation, text)
	if err != nil {
		return err
	}
	return sent(ctx, f, out, api, m, wait, func() {})
}

// sent waits for a message as long as the caller wants, calls waited, and says what has
// become of the message.
func sent(ctx context.Context, f *flags, out io.Writer, api *client.Client, m control.Message, wait time.Duration, waited func()) error {
	var err error
	if wait > 0 && m.State == "pending" {
		m, err = delivered(ctx, api, f.account, m, wait)
	}
	waited()
	if err != nil && !errors.Is(err, errWaiting) {
		return err
	}
	if m.State == "failed" {
		return fmt.Errorf("message %s was not delivered: %s", m.ID, printable(m.Reason))
	}
	return errors.Join(f.print(out, m, func() { fmt.Fprintf(out, "%s %s\n", m.State, m.ID) }), err)
}

// delivered waits until a message has left the outbox.
func delivered(ctx context.Context, api *client.Client, account string, m control.Message, wait time.Duration) (control.Message, error) {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	found := errors.New("found")
	err := api.Follow(ctx, account, 0, func(e control.Event) error {
		if e.Message == nil || e.Message.ID != m.ID || e.Message.Contact != m.Contact || e.Message.Group != m.Group || e.Message.State == "pending" {
			return nil
		}
		m = *e.Message
		return found
	})
	switch {
	case errors.Is(err, found):
		return m, nil
	case errors.Is(err, context.DeadlineExceeded):
		return m, fmt.Errorf("not delivered within %v: %w", wait, errWaiting)
	case errors.Is(err, context.Canceled):
		return m, errWaiting // the caller does not want to wait any longer
	}
	return m, err
}
