// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

func newFile(f *flags) *cobra.Command {
	cmd := group(&cobra.Command{Use: "file", Short: "List and fetch the files of messages"})
	cmd.AddCommand(newFileList(f), newFileGet(f))
	return cmd
}

func newFileList(f *flags) *cobra.Command {
	return &cobra.Command{
		Use: "list CONVERSATION", Short: "List the files of a conversation",
		Long: "Lists the files that were sent and received lately, newest first. A conversation is " + conversationHelp,
		Args: oneArg("CONVERSATION"), ValidArgsFunction: f.completeConversation,
		RunE: func(cmd *cobra.Command, args []string) error {
			return answer(f, cmd, func(api *client.Client) ([]control.File, error) {
				return api.Files(cmd.Context(), f.account, args[0])
			}, listFiles)
		},
	}
}

func listFiles(out io.Writer, files []control.File) {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	for _, file := range files {
		state := file.State
		if file.Done > 0 && file.Size > 0 {
			state = fmt.Sprintf("%s %d%%", state, min(100*file.Done/file.Size, 100))
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", file.Message, state, sizeText(file.Size), printable(file.Type), printable(file.Name))
	}
	_ = w.Flush() // nothing can report an error of printing
}

func sizeText(n int64) string {
	if n <= 0 {
		return "-"
	}
	return humanize.IBytes(uint64(n))
}

func newFileGet(f *flags) *cobra.Command {
	var output string
	var wait time.Duration
	cmd := &cobra.Command{
		Use: "get CONVERSATION MESSAGE", Short: "Save the file of a message",
		Long: "Saves the file of a message, given by the id that file list prints. A file that is not here is fetched first,\n" +
			"whatever its size. Without --output it gets the name that its sender gave it, in the current directory; a file\n" +
			"that is there already is never overwritten. A conversation is " + conversationHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("%s takes a CONVERSATION and a MESSAGE%s", cmd.CommandPath(), seeHelp(cmd))
			}
			return nil
		},
		ValidArgsFunction: f.completeConversation,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := f.client()
			if err != nil {
				return err
			}
			defer api.Close()
			file, err := fetched(cmd, f, api, args[0], args[1], wait)
			if err != nil {
				return err
			}
			read := func(w io.Writer) error {
				return api.ReadFile(cmd.Context(), f.account, args[0], args[1], w)
			}
			if output == "-" {
				return read(cmd.OutOrStdout())
			}
			path := output
			if path == "" {
				path = localName(file.Name)
			}
			if err := saveFile(path, read); err != nil {
				return err
			}
			return f.print(cmd.OutOrStdout(), file, func() { fmt.Fprintf(cmd.OutOrStdout(), "saved %s\n", printable(path)) })
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "where to save it, - for standard output")
	cmd.Flags().DurationVar(&wait, "wait", 10*time.Minute, "how long to wait for it to be fetched")
	return cmd
}

// localName turns a sender's name into one that stays in the current directory.
func localName(name string) string {
	if name == "" || !filepath.IsLocal(name) || strings.ContainsAny(name, `/\`) || strings.HasPrefix(name, ".") {
		return "file"
	}
	return name
}

// fetched waits until the file of a message is here.
func fetched(cmd *cobra.Command, f *flags, api *client.Client, conversation, message string, wait time.Duration) (control.File, error) {
	ctx, account := cmd.Context(), f.account
	here := func(file control.File) bool { return file.State == "stored" || file.State == "uploading" }
	file, err := api.File(ctx, account, conversation, message)
	if err != nil || here(file) {
		return file, err
	}
	if file, err = api.FetchFile(ctx, account, conversation, message); err != nil {
		return file, err
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	shown := newProgress(cmd.ErrOrStderr(), file.Name, f.json)
	defer shown.finish()
	for !here(file) {
		shown.update(file.Done, file.Size)
		if file.State == "failed" {
			return file, fmt.Errorf("the file cannot be fetched: %s", printable(file.Reason))
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return file, fmt.Errorf("the file is not here after %v; it is still being fetched", wait)
			}
			return file, ctx.Err()
		}
		if file, err = api.File(context.WithoutCancel(ctx), account, conversation, message); err != nil {
			return file, err
		}
	}
	return file, nil
}

// saveFile writes a new file. What was not written whole is removed.
func saveFile(path string, read func(io.Writer) error) error {
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("%s exists; choose another name with --output", printable(path))
	}
	if err != nil {
		return fmt.Errorf("save file: %w", err)
	}
	if err := errors.Join(read(out), out.Close()); err != nil {
		return errors.Join(fmt.Errorf("save file: %w", err), os.Remove(path))
	}
	return nil
}

// sendFile queues a file, read from a path or, for -, from standard input.
func sendFile(cmd *cobra.Command, f *flags, conversation, path string, file client.NewFile, wait time.Duration) error {
	file.Body = cmd.InOrStdin()
	if path != "-" {
		in, err := os.Open(path)
		if err != nil {
			return fmt.Errorf("send file: %w", err)
		}
		defer func() { _ = in.Close() }() // only read
		if info, err := in.Stat(); err == nil && info.IsDir() {
			return fmt.Errorf("%s is a directory; pack it into one file first", printable(path))
		}
		file.Body, file.Name = in, filepath.Base(path)
	}
	api, err := f.client()
	if err != nil {
		return err
	}
	defer api.Close()
	m, err := api.SendFile(cmd.Context(), f.account, conversation, file)
	if err != nil {
		return err
	}
	done := make(chan struct{})
	uploads := sync.WaitGroup{}
	if wait > 0 {
		uploads.Go(func() { watchUpload(cmd, f, api, m, done) })
	}
	return sent(cmd.Context(), f, cmd.OutOrStdout(), api, m, wait, func() {
		close(done)
		uploads.Wait()
	})
}

// watchUpload shows how far the upload of a file is, until done is closed.
func watchUpload(cmd *cobra.Command, f *flags, api *client.Client, m control.Message, done <-chan struct{}) {
	name := ""
	if m.File != nil {
		name = m.File.Name
	}
	shown := newProgress(cmd.ErrOrStderr(), name, f.json)
	defer shown.finish()
	again := time.NewTicker(200 * time.Millisecond)
	defer again.Stop()
	for {
		select {
		case <-done:
			return
		case <-cmd.Context().Done():
			return
		case <-again.C:
		}
		file, err := api.File(cmd.Context(), f.account, conversationOf(m), m.ID)
		if err != nil {
			return // the wait for the message reports it
		}
		if file.State == "uploading" {
			shown.update(file.Done, file.Size)
		}
	}
}
