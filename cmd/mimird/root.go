// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/control/jsonlist"
	"github.com/mimird/mimird/config"
)

// defaultDir is the data directory without --data: below the current
// directory, so that a first try leaves nothing elsewhere.
const defaultDir = "mimird-data"

// flags are those that every command understands.
type flags struct {
	dir     string
	config  string
	json    bool
	account string
}

func newRoot() (*cobra.Command, *flags) {
	f := new(flags)
	root := group(&cobra.Command{
		Use:   "mimird",
		Short: "An always-on node of the Mimir messenger",
		Long: "mimird receives your Mimir messages while your phone sleeps, and can show them in Matrix.\n\n" +
			"Start with: mimird up\n\n" +
			"Exit codes: 0 fine; 1 anything else; 2 the configuration is wrong or missing, or others can read a key; 3 the\n" +
			"store is damaged or a key is lost; 4 the disk is full; 5 another process has the data directory open; 6 a newer\n" +
			"version has written it; 7 a message was not delivered within --wait, and stays in the outbox, or a mediator has not\n" +
			"answered within it; 8 there is a newer version (mimird update check); 9 the release list was rejected.",
		Version: version().String(), SilenceErrors: true, SilenceUsage: true,
		PersistentPreRunE: func(*cobra.Command, []string) error { return f.check() },
	})
	root.SetFlagErrorFunc(wrongFlag)
	root.SetHelpCommand(newHelp())
	root.SetHelpFunc(printHelp)
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveNoFileComp)
	p := root.PersistentFlags()
	p.StringVar(&f.dir, "data", fromEnv("MIMIRD_DATA", defaultDir), "data `directory` (env MIMIRD_DATA)")
	p.Lookup("data").DefValue = defaultDir // in help and manual, also where the variable is set
	p.StringVar(&f.config, "config", "", "configuration `file` (default: mimird.yaml in the data directory)")
	p.BoolVar(&f.json, "json", false, "print JSON")
	p.StringVar(&f.account, "account", "-", "`account` by name or key, when there are several")
	root.AddCommand(
		newUp(f), newID(f), newAccount(f), newContact(f), newGroup(f), newSend(f), newReply(f), newReact(f), newCancel(f), newShow(f), newChat(f), newSearch(f), newFile(f), newTail(f), newStatus(f),
		newTop(f), newHealth(f), newTrace(f), newDoctor(f), newCheck(f), newNotify(f), newBackup(f), newRestore(f), newExport(f),
		newMatrix(f), newMediator(f), newPage(f), newService(f), newUpdate(f), newVersion(f), newMan(),
	)
	root.InitDefaultCompletionCmd()
	if completion, _, err := root.Find([]string{"completion"}); err == nil {
		group(completion)
	}
	return root, f
}

// check rejects flags that are wrong for every command.
func (f *flags) check() error {
	if f.dir == "" {
		return errors.New("--data: want a directory, have nothing")
	}
	if info, err := os.Stat(f.dir); err == nil && !info.IsDir() {
		return fmt.Errorf("--data: %s is a file; give a directory, or leave it out for ./%s", f.dir, defaultDir)
	}
	if f.account == "" {
		return errors.New("--account: want a name or key, have nothing")
	}
	return nil
}

func fromEnv(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func (f *flags) configPath() string {
	if f.config != "" {
		return f.config
	}
	return filepath.Join(f.dir, config.FileName)
}

// load reads the configuration, with what the environment sets. A missing file is the
// default one, unless it was named.
func (f *flags) load() (config.Config, error) {
	c, err := config.Load(f.configPath())
	switch {
	case errors.Is(err, fs.ErrNotExist) && f.config == "":
		c, err := config.ParseWith(nil, os.Environ())
		if err != nil {
			return config.Config{}, configError{err}
		}
		return c, nil
	case errors.Is(err, fs.ErrNotExist):
		return config.Config{}, configError{fmt.Errorf("there is no configuration %s; leave out --config for the one in the data directory", f.config)}
	case err != nil:
		return config.Config{}, configError{err}
	}
	return c, nil
}

// socket returns the control socket of a configuration.
func (f *flags) socket(c config.Config) string {
	if filepath.IsAbs(c.Control.Socket) {
		return c.Control.Socket
	}
	return filepath.Join(f.dir, c.Control.Socket)
}

// client returns a client of the running node. The caller closes it.
func (f *flags) client() (*client.Client, error) {
	c, err := f.load()
	if err != nil {
		return nil, err
	}
	return client.New(f.socket(c)), nil
}

// print writes an answer: as JSON when that was asked for, else with text.
func (f *flags) print(w io.Writer, answer any, text func()) error {
	if !f.json {
		text()
		return nil
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	if err := encoder.Encode(answer); err != nil {
		return fmt.Errorf("print: %w", err)
	}
	return nil
}

// listBlock is how many elements of a list are printed together, with columns that fit.
const listBlock = 256

// printList prints what each calls its argument with, as it comes: as a JSON array when that
// was asked for, else with text, a block at a time. It returns the number of elements.
func printList[T any](f *flags, w io.Writer, each func(func(T) error) error, text func(block []T)) (n int, err error) {
	out := bufio.NewWriterSize(w, 32<<10)
	list := jsonlist.NewWriter(out, "  ")
	var block []T
	err = each(func(element T) error {
		n++
		if f.json {
			err := list.Add(element)
			if n == 1 && err == nil {
				err = out.Flush()
			}
			return err
		}
		if block = append(block, element); len(block) == listBlock {
			text(block)
			clear(block)
			block = block[:0]
		}
		return nil
	})
	if len(block) > 0 {
		text(block)
	}
	if f.json && err == nil {
		err = list.Close()
	}
	return n, errors.Join(err, out.Flush())
}

// answer asks the running node, and prints what it answers.
func answer[T any](f *flags, cmd *cobra.Command, ask func(*client.Client) (T, error), text func(io.Writer, T)) error {
	api, err := f.client()
	if err != nil {
		return err
	}
	defer api.Close()
	got, err := ask(api)
	if err != nil {
		return err
	}
	return f.print(cmd.OutOrStdout(), got, func() { text(cmd.OutOrStdout(), got) })
}
