// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mimird/mimird/config"
)

// What cobra says of a wrong command line is short, in several lines, or nothing
// at all; these functions return one sentence with what to do next.

// noArgs refuses arguments.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return fmt.Errorf("%s takes no arguments, and was given %q%s", cmd.CommandPath(), clip(args[0]), seeHelp(cmd))
	}
	return nil
}

// oneArg takes one argument, which is what the help calls it.
func oneArg(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 1 || args[0] == "" {
			return fmt.Errorf("%s takes one %s%s", cmd.CommandPath(), what, seeHelp(cmd))
		}
		return nil
	}
}

// atLeastOne takes one argument and any number of further ones.
func atLeastOne(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 || args[0] == "" {
			return fmt.Errorf("%s takes a %s%s", cmd.CommandPath(), what, seeHelp(cmd))
		}
		return nil
	}
}

// group makes a command that only has others below it.
func group(cmd *cobra.Command) *cobra.Command {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		if len(args) > 0 {
			return unknownCommand(cmd, args[0])
		}
		return nil
	}
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
	return cmd
}

func unknownCommand(cmd *cobra.Command, name string) error {
	text := fmt.Sprintf("%s has no command %q", cmd.CommandPath(), clip(name))
	if near := config.Nearest(name, commandNames(cmd)); near != "" {
		return fmt.Errorf("%s; did you mean %s?", text, near)
	}
	return errors.New(text + seeHelp(cmd))
}

func commandNames(cmd *cobra.Command) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		for _, child := range cmd.Commands() {
			if child.IsAvailableCommand() && !yield(child.Name()) {
				return
			}
		}
	}
}

// newHelp is cobra's command, but for topics that do not exist.
func newHelp() *cobra.Command {
	return &cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Help about any command",
		RunE: func(cmd *cobra.Command, args []string) error {
			topic, rest, err := cmd.Root().Find(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return unknownCommand(topic, rest[0])
			}
			topic.InitDefaultHelpFlag()
			return topic.Help()
		},
	}
}

// wrongFlag explains an error of the flags.
func wrongFlag(cmd *cobra.Command, err error) error {
	if cmd.HasSubCommands() && cmd.Flags().NArg() > 0 {
		return unknownCommand(cmd, cmd.Flags().Arg(0)) // whose flag it may be
	}
	var unknown *pflag.NotExistError
	var invalid *pflag.InvalidValueError
	switch {
	case errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() == "":
		text := fmt.Sprintf("%s has no flag --%s", cmd.CommandPath(), printable(clip(unknown.GetSpecifiedName())))
		if near := config.Nearest(unknown.GetSpecifiedName(), flagNames(cmd)); near != "" {
			return fmt.Errorf("%s; did you mean --%s?", text, near)
		}
		return errors.New(text + seeHelp(cmd))
	case errors.As(err, &unknown):
		return fmt.Errorf("%s has no flag -%s%s", cmd.CommandPath(), printable(clip(unknown.GetSpecifiedName())), seeHelp(cmd))
	case errors.As(err, &invalid):
		return fmt.Errorf("--%s: want %s, have %q", invalid.GetFlag().Name, kindOf(invalid.GetFlag()), clip(invalid.GetValue()))
	}
	return fmt.Errorf("%w%s", err, seeHelp(cmd))
}

func flagNames(cmd *cobra.Command) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		more := true
		cmd.Flags().VisitAll(func(f *pflag.Flag) { more = more && (f.Hidden || yield(f.Name)) })
	}
}

// kindOf says what the value of a flag looks like.
func kindOf(f *pflag.Flag) string {
	switch f.Value.Type() {
	case "duration":
		return "a duration such as 90s or 15m"
	case "int", "int64":
		return "a whole number"
	}
	return "true or false"
}

func seeHelp(cmd *cobra.Command) string { return "; see: " + cmd.CommandPath() + " --help" }

// clip keeps errors readable when a whole file was pasted.
func clip(s string) string {
	const most = 64
	if len(s) > most {
		return strings.ToValidUTF8(s[:most], "") + "…"
	}
	return s
}
