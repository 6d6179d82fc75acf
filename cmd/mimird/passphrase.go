// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

const (
	passphraseFlag = "passphrase-file"
	passphraseEnv  = "MIMIRD_PASSPHRASE"
	maxPassphrase  = 1024
)

// passphrase is a secret that a person types, or a script has in a file or in the
// environment. It is never an argument: others could see it.
type passphrase struct {
	file string
	text string
}

func (p *passphrase) flag(cmd *cobra.Command) {
	cmd.Flags().StringVar(&p.file, passphraseFlag, "", "file whose first line is the passphrase (or env "+passphraseEnv+"; else it is asked for)")
}

// ask fills in text.
func (p *passphrase) ask(cmd *cobra.Command, what string, twice bool) (err error) {
	switch {
	case p.file != "":
		p.text, err = firstLine(p.file)
	case os.Getenv(passphraseEnv) != "":
		p.text = os.Getenv(passphraseEnv)
	default:
		p.text, err = typed(cmd, what)
		if err == nil && twice && p.text != "" {
			again, err := typed(cmd, "Once more")
			if err != nil {
				return err
			}
			if again != p.text {
				return errors.New("the two passphrases differ; nothing was done")
			}
		}
	}
	if err == nil && p.text == "" {
		err = errors.New("the passphrase is empty")
	}
	return err
}

func firstLine(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	defer func() { _ = file.Close() }()                         // only read
	raw, err := io.ReadAll(io.LimitReader(file, maxPassphrase)) //nolint:forbidigo // through a limit
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	line, _, _ := strings.Cut(string(raw), "\n")
	return strings.TrimSuffix(line, "\r"), nil
}

func typed(cmd *cobra.Command, what string) (string, error) {
	in, ok := cmd.InOrStdin().(*os.File)
	if !ok || !term.IsTerminal(int(in.Fd())) {
		return "", fmt.Errorf("no terminal to type a passphrase on; give --%s or %s", passphraseFlag, passphraseEnv)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "%s: ", what)
	raw, err := term.ReadPassword(int(in.Fd()))
	fmt.Fprintln(cmd.ErrOrStderr())
	if err != nil {
		return "", fmt.Errorf("read passphrase: %w", err)
	}
	return string(raw), nil
}
