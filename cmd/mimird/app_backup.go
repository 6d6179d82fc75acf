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
	"github.com/mimird/mimird/proto/mediator"
)

// appBackupPage is how many messages are asked for at once.
const appBackupPage = 500

// appBackupDone is what the command prints with --json.
type appBackupDone struct {
	File     string `json:"file"`
	Contacts int    `json:"contacts"`
	Groups   int    `json:"groups"`
	Messages int    `json:"messages"`
	Files    int    `json:"files"`
	Missing  int    `json:"missing_files" doc:"Files that this node does not have"`
	LeftOut  int    `json:"left_out" doc:"Messages that were given up, which the app would send"`
}

func newAccountAppBackup(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "app-backup ACCOUNT FILE",
		Short: "Write a backup that the Android app restores",
		Long: "Writes an account with its contacts and groups and what was said there, files included, as the backup of the Mimir\n" +
			"app for Android: on a new phone, choose Backup and Import in the app's settings, and this file. It replaces\n" +
			"everything that the app has. The secret key of the account and those of the groups are in the file, and the file is\n" +
			"not encrypted: anyone who has it can act as that account. Invites that were not answered are not in it. What was not\n" +
			"delivered yet the phone sends too; others show it once. See docs/roles.md before an account is on a phone and on a\n" +
			"node.",
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
				fmt.Fprintf(out, "%s has %s, %s, %s and %s; keep it safe, the secret key is in it\n", written.File,
					plural(written.Contacts, "contact", "contacts"), plural(written.Groups, "group", "groups"),
					plural(written.Messages, "message", "messages"), plural(written.Files, "file", "files"))
				if written.Missing > 0 {
					fmt.Fprintf(out, "not in it: %s that this node does not have\n", plural(written.Missing, "file", "files"))
				}
				if written.LeftOut > 0 {
					fmt.Fprintf(out, "not in it: %s cancelled or given up\n", plural(written.LeftOut, "message that was", "messages that were"))
				}
			})
		},
	}
}

// writeAppBackup writes the file, mode 0600, and removes it again after an error.
func writeAppBackup(ctx context.Context, api *client.Client, name, path string) (done appBackupDone, err error) {
	account, key, groups, err := accountWithKey(ctx, api, name)
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
	for _, secret := range groups {
		if err == nil {
			err = addGroup(ctx, api, account.ID, secret, w, &done)
		}
	}
	err = errors.Join(err, w.Close())
	if err == nil {
		err = file.Sync()
	}
	return done, err
}

func accountWithKey(ctx context.Context, api *client.Client, name string) (account control.Account, key identity.PrivateKey, groups []control.GroupSecret, err error) {
	secret, err := api.ExportAccount(ctx, name)
	if err != nil {
		return account, key, nil, err
	}
	if key, err = identity.ParsePEM([]byte(secret.PEM)); err != nil {
		return account, key, nil, err
	}
	accounts, err := api.Accounts(ctx)
	if err != nil {
		return account, key, nil, err
	}
	i := slices.IndexFunc(accounts, func(a control.Account) bool { return a.ID == secret.ID })
	if i < 0 {
		return account, key, nil, errors.New("the account was removed")
	}
	return accounts[i], key, secret.Groups, nil
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
		err = addMessages(ctx, api, account, c.ID, done, func(m control.Message, out appbackup.Message, file openFile) error {
			return w.Message(ctx, number, out, file)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// addGroup adds a group that the app would still show, with its conversation.
func addGroup(ctx context.Context, api *client.Client, account string, secret control.GroupSecret, w *appbackup.Writer, done *appBackupDone) error {
	view, err := api.Group(ctx, account, secret.Group)
	if err != nil {
		return err
	}
	if !slices.Contains([]string{"member", "joining", "read_only", "banned", "deleted", "mediator_gone"}, view.State) {
		return nil
	}
	g := appbackup.Group{Name: view.Name, Muted: view.Muted}
	if g.Mediator, err = identity.ParseNodeKey(view.Mediator); err != nil {
		return err
	}
	if g.Chat, err = strconv.ParseInt(view.Chat, 10, 64); err != nil {
		return err
	}
	key, err := identity.ParseNodeKey(secret.Key)
	if err != nil {
		return err
	}
	g.Key = key
	details := appbackup.GroupDetails{
		Description: view.Description, Created: view.Since, Last: secret.Last, ReadOnly: !slices.Contains([]string{"member", "joining", "mediator_gone"}, view.State),
	}
	if details.Avatar, err = avatarOf(ctx, api, account, secret.Group, view.Avatar); err != nil {
		return err
	}
	members, err := api.GroupMembers(ctx, account, secret.Group)
	if err != nil {
		return err
	}
	for _, m := range members {
		member := appbackup.Member{Name: m.Name, Info: m.Info, Permissions: permissionsOf(m.Role), Since: m.Since, Gone: m.Standing != "member"}
		if member.Key, err = identity.ParsePublicKey(m.ID); err != nil {
			return err
		}
		details.Members = append(details.Members, member)
	}
	to, err := w.Group(ctx, g, details)
	if err != nil {
		return err
	}
	done.Groups++
	return addMessages(ctx, api, account, secret.Group, done, func(m control.Message, out appbackup.Message, file openFile) (err error) {
		message := appbackup.GroupMessage{Message: out, Unreadable: m.Unreadable}
		author := m.Author
		if m.Direction == "out" {
			author = account
		}
		if m.TypeName != "system" {
			if message.Author, err = identity.ParsePublicKey(author); err != nil {
				return err
			}
		}
		return to.Message(ctx, message, file)
	})
}

// permissionsOf are those of a role. Who has created a group has two bits.
func permissionsOf(role string) mediator.Permissions {
	if role == mediator.PermissionOwner.String() {
		return mediator.PermissionOwner | mediator.PermissionUser
	}
	for _, p := range []mediator.Permissions{
		mediator.PermissionAdmin, mediator.PermissionModerator, mediator.PermissionReadOnly, mediator.PermissionBanned,
	} {
		if role == p.String() {
			return p
		}
	}
	return mediator.PermissionUser
}

// openFile opens the file of a message; it returns nil when the node does not have it.
type openFile = func() (io.ReadCloser, error)

// addMessages gives the messages of a conversation to add, from the first to the last.
func addMessages(ctx context.Context, api *client.Client, account, contact string, done *appBackupDone, add func(control.Message, appbackup.Message, openFile) error) error {
	for after := uint64(0); ; {
		page, err := api.ChatMessages(ctx, account, contact, control.Range{After: after, Limit: appBackupPage})
		if err != nil || len(page) == 0 {
			return err
		}
		slices.SortFunc(page, func(a, b control.Message) int { return int(int64(a.Order - b.Order)) }) //nolint:gosec // a difference
		for _, m := range page {
			after = max(after, m.Order)
			if m.Deleted {
				continue // the app has deleted it too
			}
			if m.State == "failed" {
				done.LeftOut++
				continue
			}
			if err := addMessage(ctx, api, account, contact, m, done, add); err != nil {
				return err
			}
		}
	}
}

func addMessage(ctx context.Context, api *client.Client, account, contact string, m control.Message, done *appBackupDone, add func(control.Message, appbackup.Message, openFile) error) error {
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
	return add(m, out, func() (io.ReadCloser, error) {
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
