// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/durable"
	"github.com/mimird/mimird/cmd/internal/export"
)

func newExport(f *flags) *cobra.Command {
	var format string
	cmd := &cobra.Command{
		Use:   "export DIRECTORY",
		Short: "Write the conversations into files for people",
		Long: "Writes all conversations of an account, with contacts and in groups, into a new directory: pages to read in any\n" +
			"browser (html), with index.html to begin at, or one JSON object per line (json) for programs, with index.json. Each\n" +
			"conversation has a folder of its name, and in it the pictures, voice messages and files that the node has. Pages\n" +
			"have no scripts and load nothing from elsewhere. The files are not encrypted. A backup is something else: mimird\n" +
			"backup.",
		Args: oneArg("DIRECTORY"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if format != string(export.HTML) && format != string(export.JSON) {
				return fmt.Errorf("--format: want html or json, have %q", format)
			}
			client, done, err := f.anyClient(cmd.Context())
			if err != nil {
				return err
			}
			defer func() { err = errors.Join(err, done()) }()
			exported, err := export.Write(cmd.Context(), client, export.Options{Account: f.account, Dir: args[0], Format: export.Format(format)})
			if err != nil {
				return err
			}
			// Thousands of conversations are thousands of files: they are synced together.
			if err := syncFiles(args[0]); err != nil {
				return fmt.Errorf("export: %w", err)
			}
			out := cmd.OutOrStdout()
			return f.print(out, exported, func() {
				for _, c := range exported {
					missing := ""
					if c.Missing > 0 {
						missing = ", without " + plural(c.Missing, "file that is", "files that are") + " not here"
					}
					fmt.Fprintf(out, "%s  %s and %s with %s%s\n", filepath.Join(args[0], c.Folder),
						plural(c.Messages, "message", "messages"), plural(c.Files, "file", "files"), printable(c.Name), missing)
				}
				fmt.Fprintf(out, "begin at %s\n", filepath.Join(args[0], "index."+format))
			})
		},
	}
	cmd.Flags().StringVar(&format, "format", "html", "html or json")
	return cmd
}

// syncFiles makes the files below a directory and its name durable: with one sync of the
// whole file system where the system can do that, and file by file elsewhere.
func syncFiles(dir string) error {
	if done, err := syncFileSystem(dir); done || err != nil {
		return err
	}
	return syncEach(dir)
}

func syncEach(dir string) error {
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return durable.SyncDir(path)
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		return errors.Join(f.Sync(), f.Close())
	})
	return errors.Join(err, durable.SyncParent(dir))
}
