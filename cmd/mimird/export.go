// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"html/template"
	"io"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/durable"
)

// exportPage is how many messages are asked for at once.
const exportPage = 500

//go:embed export.html.tmpl
var exportHTML string

func newExport(f *flags) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "export DIRECTORY",
		Short: "Write the conversations into files for people",
		Long: "Writes a file for each conversation of an account into a new directory: web pages (html) to read, or one JSON\n" +
			"object per line (json) for programs. The files are not encrypted. A backup is something else: mimird backup.",
		Args: oneArg("DIRECTORY"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			write, known := map[string]writeConversation{"html": writeHTML, "json": writeJSON}[format]
			if !known {
				return fmt.Errorf("--format: want html or json, have %q", format)
			}
			api, done, err := f.anyClient(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			files, err := export(cmd.Context(), api, f.account, args[0], format, write)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			return f.print(out, files, func() {
				for _, file := range files {
					fmt.Fprintf(out, "%s  %d messages with %s\n", file.File, file.Messages, printable(file.Contact.Name))
				}
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "html", "html or json")
	return cmd
}

// exported is one file of an export.
type exported struct {
	File     string          `json:"file"`
	Contact  control.Contact `json:"contact"`
	Messages int             `json:"messages"`
}

// writeConversation writes one conversation, oldest message first.
type writeConversation func(w io.Writer, contact control.Contact, messages []control.Message) error

// export writes the files one after the other and syncs them together: thousands of
// conversations are thousands of files.
func export(ctx context.Context, api *client.Client, account, dir, format string, write writeConversation) ([]exported, error) {
	contacts, err := api.Contacts(ctx, account)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make a directory for the export: %w", err)
	}
	files := []exported{}
	for _, contact := range contacts {
		messages, err := conversation(ctx, api, account, contact.ID)
		if err != nil {
			return nil, err
		}
		path := filepath.Join(dir, contact.ID+"."+format)
		if err := exportFile(path, func(w io.Writer) error { return write(w, contact, messages) }); err != nil {
			return nil, fmt.Errorf("export: %w", err)
		}
		files = append(files, exported{path, contact, len(messages)})
	}
	if err := syncFiles(dir); err != nil {
		return nil, fmt.Errorf("export: %w", err)
	}
	return files, nil
}

// exportFile creates a file, which is not synced yet. It never overwrites one.
func exportFile(path string, write func(io.Writer) error) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return write(f)
}

// syncFiles makes the files in a directory and its name durable: with one sync of the
// whole file system where the system can do that, and file by file elsewhere.
func syncFiles(dir string) error {
	if done, err := syncFileSystem(dir); done || err != nil {
		return err
	}
	return syncEach(dir)
}

func syncEach(dir string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		f, err := os.OpenFile(filepath.Join(dir, entry.Name()), os.O_RDWR, 0)
		if err != nil {
			return err
		}
		if err := errors.Join(f.Sync(), f.Close()); err != nil {
			return err
		}
	}
	return errors.Join(durable.SyncDir(dir), durable.SyncParent(dir))
}

// conversation reads all messages of a conversation, oldest first.
func conversation(ctx context.Context, api *client.Client, account, contact string) ([]control.Message, error) {
	var all []control.Message
	for before := uint64(0); ; {
		page, err := api.Messages(ctx, account, contact, before, exportPage)
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			slices.Reverse(all)
			return all, nil
		}
		all = append(all, page...)
		before = page[len(page)-1].Order
	}
}

func writeJSON(w io.Writer, _ control.Contact, messages []control.Message) error {
	buffered := bufio.NewWriter(w)
	encoder := json.NewEncoder(buffered)
	encoder.SetEscapeHTML(false)
	for _, m := range messages {
		if err := encoder.Encode(m); err != nil {
			return fmt.Errorf("export: %w", err)
		}
	}
	return buffered.Flush()
}

func writeHTML(w io.Writer, contact control.Contact, messages []control.Message) error {
	page, err := template.New("export").Funcs(template.FuncMap{"moment": moment, "summary": summary}).Parse(exportHTML)
	if err != nil {
		return fmt.Errorf("export: %w", err)
	}
	buffered := bufio.NewWriter(w)
	err = page.Execute(buffered, map[string]any{"Contact": contact, "Messages": messages})
	return errors.Join(err, buffered.Flush())
}
