// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
)

var errNotConfirmed = errors.New("nothing was done")

// confirm has a person type a name before something is removed for good. Without
// a person it wants --yes.
func confirm(cmd *cobra.Command, yes bool, what, name string) error {
	if yes {
		return nil
	}
	if !isTerminal(cmd.InOrStdin()) {
		return fmt.Errorf("this removes %s; there is no terminal to confirm it on, so give --yes", what)
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "This removes %s.\nType %q to go on: ", what, printable(name))
	line, err := bufio.NewReader(io.LimitReader(cmd.InOrStdin(), 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read answer: %w", err)
	}
	if strings.TrimRight(line, "\r\n") != name {
		return errNotConfirmed
	}
	return nil
}
