// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/appbackup"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/proto/identity"
)

// appBackupPage is how many messages are asked for at once.
const appBackupPage = 500

// appBackupDone is what the command prints with --json.
type appBackupDone struct {
	File     string `json:"file"`
	Contacts int    `json:"contacts"`
	Messages int    `json:"messages"`
	Files    int    `json:"files"`
	Missing  int    `json:"missing_files" doc:"Files that this node does not have"`
	LeftOut  int    `json:"left_out" doc:"Messages that were given up, which the app would send"`
}

func newAccountAppBackup(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "app-backup ACCOUNT FILE",
		Short: "Write a backup that the Android app restores",
		Long: "Writes an account with its contacts and what was said with them, files included, as the backup of the Mimir app\n" +
			"for Android: on a new phone, choose Backup and Import in the app's settings, and this file. It replaces everything\n" +
			"that the app has. Groups are not in it: ask a member for an invite. The secret key of the account is in the file,\n" +
			"and the file is not encrypted: anyone who has it can act as that account. What was not delivered yet the phone\n" +
			"sends too; contacts show it once. See docs/roles.md before an account is on a phone and on a node.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 || args[0] == "" || args[1] == "" {
				return fmt.Errorf("%s takes an ACCOUNT and a FILE%s", cmd.CommandPath(), seeHelp(cmd))
			}
			return nil
		},
		ValidArgsFunction: f.completeAccount,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			api, done, err := f.anyClient(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			written, err := writeAppBackup(cmd.Context(), api, args[0], args[1])
			if err != nil {
				return fmt.Errorf("write app backup: %w", err)
			}
			out := cmd.OutOrStdout()
			return f.print(out, written, func() {
				fmt.Fprintf(out, "%s has %d contacts, %d messages and %d files; keep it safe, the secret key is in it\n",
					written.File, written.Contacts, written.Messages, written.Files)
				if written.Missing > 0 {
					fmt.Fprintf(out, "not in it: %d files that this node does not have\n", written.Missing)
				}
				if written.LeftOut > 0 {
					fmt.Fprintf(out, "not in it: %d messages that were cancelled or given up\n", written.LeftOut)
				}
			})
		},
	}
}

// writeAppBackup writes the file, mode 0600, and removes it again after an error.
func writeAppBackup(ctx context.Context, api *client.Client, name, path string) (done appBackupDone, err error) {
	account, key, err := accountWithKey(ctx, api, name)
	if err != nil {
		return done, err
	}
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return done, err
	}
	defer func() {
		if err = errors.Join(err, file.Close()); err != nil {
			err = errors.Join(err, os.Remove(path))
		}
	}()
	picture, err := avatarOf(ctx, api, account.ID, "", account.Avatar)
	if err != nil {
		return done, err
	}
	w, err := appbackup.NewWriter(ctx, file, appbackup.Backup{Key: key, Name: account.Name, Info: account.Info, Avatar: picture})
	if err != nil {
		return done, err
	}
	done.File = path
	err = addContacts(ctx, api, account.ID, w, &done)
	err = errors.Join(err, w.Close())
	if err == nil {
		err = file.Sync()
	}
	return done, err
}

func accountWithKey(ctx context.Context, api *client.Client, name string) (account control.Account, key identity.PrivateKey, err error) {
	secret, err := api.ExportAccount(ctx, name)
	if err != nil {
		return account, key, err
	}
	if key, err = identity.ParsePEM([]byte(secret.PEM)); err != nil {
		return account, key, err
	}
	accounts, err := api.Accounts(ctx)
	if err != nil {
		return account, key, err
	}
	i := slices.IndexFunc(accounts, func(a control.Account) bool { return a.ID == secret.ID })
	if i < 0 {
		return account, key, errors.New("the account was removed")
	}
	return accounts[i], key, nil
}

// avatarOf returns a picture of so many bytes, nil for 0.
func avatarOf(ctx context.Context, api *client.Client, account, chat string, size int) ([]byte, error) {
	if size == 0 {
		return nil, nil
	}
	return api.Avatar(ctx, account, chat)
}

// addContacts adds the contacts that may write, with their conversations.
func addContacts(ctx context.Context, api *client.Client, account string, w *appbackup.Writer, done *appBackupDone) error {
	contacts, err := api.Contacts(ctx, account)
	if err != nil {
		return err
	}
	for _, c := range contacts {
		if c.State != "accepted" {
			continue
		}
		key, err := identity.ParsePublicKey(c.ID)
		if err != nil {
			return err
		}
		picture, err := api.Avatar(ctx, account, c.ID)
		if err != nil {
			picture = nil // most have none
		}
		number, err := w.Contact(ctx, appbackup.Contact{Key: key, Name: c.Name, Renamed: c.Name != c.Nickname, Muted: c.Muted}, c.Info, picture)
		if err != nil {
			return err
		}
		done.Contacts++
		if err := addMessages(ctx, api, account, c.ID, number, w, done); err != nil {
			return err
		}
	}
	return nil
}

func addMessages(ctx context.Context, api *client.Client, account, contact string, number int64, w *appbackup.Writer, done *appBackupDone) error {
	for after := uint64(0); ; {
		page, err := api.ChatMessages(ctx, account, contact, control.Range{After: after, Limit: appBackupPage})
		if err != nil || len(page) == 0 {
			return err
		}
		slices.SortFunc(page, func(a, b control.Message) int { return int(int64(a.Order - b.Order)) }) //nolint:gosec // a difference
		for _, m := range page {
			after = max(after, m.Order)
			if m.State == "failed" {
				done.LeftOut++
				continue
			}
			if err := addMessage(ctx, api, account, contact, number, m, w, done); err != nil {
				return err
			}
		}
	}
}

func addMessage(ctx context.Context, api *client.Client, account, contact string, number int64, m control.Message, w *appbackup.Writer, done *appBackupDone) error {
	guid, err := strconv.ParseInt(m.GUID, 10, 64)
	if err != nil {
		return err
	}
	out := appbackup.Message{
		GUID: guid, Incoming: m.Direction == "in", Delivered: m.State == "delivered", Sent: m.Sent, Type: m.Type, Payload: m.Payload,
	}
	if m.TypeName == "text" && m.Payload == nil {
		out.Payload = []byte(m.Text)
	}
	refers := m.ReplyTo
	if m.Reaction != nil {
		refers = m.Reaction.Target
	}
	if refers != "" {
		if out.ReplyTo, err = strconv.ParseInt(refers, 10, 64); err != nil {
			return err
		}
	}
	done.Messages++
	return w.Message(ctx, number, out, func() (io.ReadCloser, error) {
		resp, err := api.OpenFile(ctx, account, contact, m.ID, "")
		if err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			done.Missing++
			return nil, nil //nolint:nilnil // evicted or not fetched: the app says that it is missing
		}
		done.Files++
		return resp.Body, nil
	})
}
