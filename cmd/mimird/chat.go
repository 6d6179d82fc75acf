// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/gdamore/tcell/v2"
	"github.com/spf13/cobra"

	"github.com/mimird/mimird/cmd/internal/chat"
)

// errNoScreen says what to use where there is no screen to draw on.
var errNoScreen = errors.New("this terminal cannot show a screen; use mimird tail to follow what happens, and mimird show and mimird send")

func newChat(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "chat",
		Short: "Read and write messages in the terminal",
		Long: "Shows the conversations of an account with what is unread, and lets you read and answer: texts, files, replies,\n" +
			"reactions, contact requests and groups. It follows the running node, and says when that is away. F1 shows the\n" +
			"keys. With several accounts it begins with the one of --account, or the first; Ctrl+O switches. With NO_COLOR set\n" +
			"it uses no colours. It needs a terminal; for programs there are mimird tail and mimird send.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.json {
				return errors.New("mimird chat is for people; for programs there are: mimird tail --json, and mimird send --json")
			}
			if !isTerminal(cmd.OutOrStdout()) || !isTerminal(cmd.InOrStdin()) || os.Getenv("TERM") == "dumb" || os.Getenv("TERM") == "" {
				return errNoScreen
			}
			return runChat(cmd, f)
		},
	}
}

func runChat(cmd *cobra.Command, f *flags) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	defer api.Close()
	opts := chat.Options{API: api, Summary: summary, FileName: localName, SaveFile: saveFile, Suspend: stopSelf}
	if f.account != "-" {
		accounts, err := api.Accounts(cmd.Context())
		if err != nil {
			return err
		}
		if accounts, err = oneAccount(accounts, f.account); err != nil {
			return err
		}
		opts.Account = accounts[0].ID
	}
	screen, err := tcell.NewScreen()
	if err != nil {
		return fmt.Errorf("%w (%s)", errNoScreen, err.Error())
	}
	return chat.Run(cmd.Context(), chat.NewTerminal(screen, os.Getenv("NO_COLOR") == ""), opts)
}
