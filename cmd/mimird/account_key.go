// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/appbackup"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/proto/identity"
)

// maxKeyInput is more than any form of a key has.
const maxKeyInput = 4 << 10

func newAccountImport(f *flags) *cobra.Command {
	var name, role string
	var noContacts, noGroups bool
	cmd := &cobra.Command{
		Use:   "import FILE",
		Short: "Import an account from its key or from an app's backup",
		Long: "Reads an identity from a file, or from standard input when FILE is -: a PEM block as mimird account export\n" +
			"writes it, a seed of 64 hex digits, or the backup that the Mimir app makes (a .zip file, not from standard\n" +
			"input). The account of a phone that stays in use gets the role backup: the phone comes first, and the node\n" +
			"receives what the phone misses. See docs/roles.md. The groups of the phone are joined, and their whole history\n" +
			"is read from their mediators; what the phone writes there is shown as yours.",
		Args: oneArg("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			in, found, err := readImport(cmd.InOrStdin(), args[0])
			if err != nil {
				return err
			}
			if name != "" {
				in.Name = name
			}
			if in.Name == "" {
				in.Name = "imported"
			}
			if role != "" {
				in.Role = role
			}
			api, err := f.client()
			if err != nil {
				return err
			}
			defer api.Close()
			done, err := api.ImportAccount(cmd.Context(), in)
			if err != nil {
				return err
			}
			if noContacts {
				found.Contacts = nil
			}
			if noGroups {
				found.Groups = nil
			}
			if err := importContacts(cmd.Context(), api, done.Account.ID, found.Contacts); err != nil {
				return fmt.Errorf("the account is imported, its contacts are not: %w", err)
			}
			if err := importGroups(cmd.Context(), api, done.Account.ID, found.Groups); err != nil {
				return fmt.Errorf("the account is imported with its contacts, its groups are not: %w; join them with mimird group join", err)
			}
			out := cmd.OutOrStdout()
			return f.print(out, done, func() {
				fmt.Fprintf(out, "%q is an account (%s), in the role %s, with %s and %s\n",
					printable(done.Account.Name), done.Account.ID, done.Account.Role,
					plural(len(found.Contacts), "contact", "contacts"), plural(len(found.Groups), "group", "groups"))
				warnForeignNodes(cmd.ErrOrStderr(), done)
			})
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "what the account is called (default: its name in the backup)")
	cmd.Flags().StringVar(&role, "role", "", "primary, backup or mirror (default: backup for an app's backup, else primary)")
	cmd.Flags().BoolVar(&noContacts, "no-contacts", false, "leave the contacts of an app's backup out")
	cmd.Flags().BoolVar(&noGroups, "no-groups", false, "leave the groups of an app's backup out")
	return cmd
}

// importGroups adds the groups of an app's backup. A group that the account is in already
// does not change.
func importGroups(ctx context.Context, api *client.Client, account string, groups []appbackup.Group) error {
	for _, g := range groups {
		joined, err := api.JoinGroup(ctx, account, control.JoinedGroup{
			Mediator: g.Mediator.String(), Chat: strconv.FormatInt(g.Chat, 10), Key: hex.EncodeToString(g.Key[:]), Name: g.Name,
		})
		if err != nil {
			return err
		}
		if !g.Muted {
			continue
		}
		if _, err := api.SetGroup(ctx, account, joined.ID, control.GroupSettings{Muted: &g.Muted}); err != nil {
			return err
		}
	}
	return nil
}

// importContacts adds the contacts of an app's backup.
func importContacts(ctx context.Context, api *client.Client, account string, contacts []appbackup.Contact) error {
	for _, c := range contacts {
		link := identity.Link{Key: c.Key, Name: c.Name}.String()
		if _, err := api.AddContact(ctx, account, link); err != nil {
			return err
		}
		var change control.ContactChange
		if c.Renamed {
			change.Name = &c.Name
		}
		if c.Muted {
			change.Muted = &c.Muted
		}
		if change != (control.ContactChange{}) {
			if _, err := api.ChangeContact(ctx, account, c.Key.String(), change); err != nil {
				return err
			}
		}
	}
	return nil
}

// warnForeignNodes warns that other nodes use an imported key.
func warnForeignNodes(out io.Writer, done control.Imported) {
	switch {
	case done.ForeignNodes == nil:
		fmt.Fprintln(out, "No tracker could be asked whether the account is in use elsewhere.")
	case len(done.ForeignNodes) > 0:
		fmt.Fprintf(out, "Warning: the account is in use at %d other node, for example a phone (%s). A sender reaches\n"+
			"one of them only; which one is up to the role, see docs/roles.md.\n", len(done.ForeignNodes), strings.Join(done.ForeignNodes, ", "))
	}
}

// readImport reads an identity in whatever form it is, and what else is in an app's backup.
func readImport(stdin io.Reader, path string) (control.Import, appbackup.Backup, error) {
	source := stdin
	if path != "-" {
		file, err := os.Open(path)
		if err != nil {
			return control.Import{}, appbackup.Backup{}, fmt.Errorf("import account: %w", err)
		}
		defer func() { _ = file.Close() }() // only read
		info, err := file.Stat()
		if err != nil {
			return control.Import{}, appbackup.Backup{}, fmt.Errorf("import account: %w", err)
		}
		if appbackup.Is(file) {
			return readAppBackup(file, info.Size())
		}
		source = file
	}
	raw, err := io.ReadAll(io.LimitReader(source, maxKeyInput+1)) //nolint:forbidigo // through a limit
	if err != nil {
		return control.Import{}, appbackup.Backup{}, fmt.Errorf("import account: %w", err)
	}
	if len(raw) > maxKeyInput {
		return control.Import{}, appbackup.Backup{}, errors.New("not a key: it is too long")
	}
	key, err := parseKey(raw)
	if err != nil {
		return control.Import{}, appbackup.Backup{}, err
	}
	return control.Import{PEM: string(key.MarshalPEM())}, appbackup.Backup{}, nil
}

// parseKey reads a PEM block or a seed in hex. Its errors do not quote it.
func parseKey(raw []byte) (identity.PrivateKey, error) {
	text := bytes.TrimSpace(raw)
	var seed [identity.SeedSize]byte
	if len(text) == 2*len(seed) {
		if _, err := hex.Decode(seed[:], text); err == nil {
			return identity.NewPrivateKey(seed), nil
		}
	}
	key, err := identity.ParsePEM(raw)
	if err != nil {
		return key, errors.New("not a key: want a PEM block (PRIVATE KEY), a seed of 64 hex digits, or the .zip file of an app's backup")
	}
	return key, nil
}

func readAppBackup(file *os.File, size int64) (control.Import, appbackup.Backup, error) {
	found, err := appbackup.Read(file, size)
	if err != nil {
		return control.Import{}, found, fmt.Errorf("import account: %w", err)
	}
	return control.Import{
		PEM: string(found.Key.MarshalPEM()), Name: found.Name, Info: found.Info, Avatar: found.Avatar, Role: "backup",
	}, found, nil
}

func newAccountExport(f *flags) *cobra.Command {
	var file string
	var yes bool
	cmd := &cobra.Command{
		Use:   "export ACCOUNT",
		Short: "Write the secret key of an account",
		Long: "Writes the secret key of an account as a PEM block. Anyone who has it can act as that account, so keep it in a safe\n" +
			"place. It works whether the node runs or not. Messages are something else: mimird backup.",
		Args:              oneArg("ACCOUNT"),
		ValidArgsFunction: f.completeAccount,
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if file == "" && !yes && isTerminal(cmd.OutOrStdout()) {
				return errors.New("this would show the secret key on the screen; give --output FILE, or --yes if that is what you want")
			}
			api, done, err := f.anyClient(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			secret, err := api.ExportAccount(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			if file == "" {
				return f.print(cmd.OutOrStdout(), secret, func() { fmt.Fprint(cmd.OutOrStdout(), secret.PEM) })
			}
			if err := writeSecret(file, secret.PEM); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "the key of %s is in %s; keep it safe\n", secret.ID, file)
			return nil
		},
	}
	cmd.Flags().StringVar(&file, "output", "", "write into this new file, which only you can read")
	cmd.Flags().BoolVar(&yes, "yes", false, "write to the terminal")
	return cmd
}

// writeSecret creates a file, mode 0600 whatever the umask, and never overwrites one.
func writeSecret(path, content string) (err error) {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("export account: %w", err)
	}
	defer func() {
		err = errors.Join(err, file.Close())
		if err != nil {
			err = errors.Join(fmt.Errorf("export account to %s: %w", filepath.Base(path), err), os.Remove(path))
		}
	}()
	if err := file.Chmod(0o600); err != nil {
		return err
	}
	if _, err := file.WriteString(content); err != nil {
		return err
	}
	return file.Sync()
}
