// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/mimird/mimird/actors/answering"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

// maxAvatarFile is a little more than an avatar may have, so that one
// that is too large is recognised.
const maxAvatarFile = 1 << 20

func newAccount(f *flags) *cobra.Command {
	cmd := group(&cobra.Command{Use: "account", Short: "Create, import, change and remove accounts"})
	cmd.AddCommand(newAccountList(f), newAccountAdd(f), newAccountImport(f), newAccountExport(f), newAccountAppBackup(f), newAccountRemove(f), newAccountSet(f))
	return cmd
}

func newAccountList(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "list",
		Short: "List the accounts of this node",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			accounts, err := listAccounts(cmd.Context(), f)
			if err != nil {
				return err
			}
			if accounts == nil {
				accounts = []control.Account{}
			}
			out := cmd.OutOrStdout()
			return f.print(out, accounts, func() {
				w := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
				for _, a := range accounts {
					fmt.Fprintf(w, "%s\t%s\t%s\tstrangers: %s\n", printable(a.Name), a.ID, a.Role, a.Strangers)
				}
				_ = w.Flush() // what it writes to reports its own errors
				if len(accounts) == 0 {
					fmt.Fprintln(out, "no accounts yet; create one with: mimird up")
				}
			})
		},
	}
}

func newAccountAdd(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "add NAME",
		Short: "Create an account",
		Args:  oneArg("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.withAccount(cmd, "%q is an account\n", func(api *client.Client) (control.Account, error) {
				return api.CreateAccount(cmd.Context(), args[0])
			})
		},
	}
}

func newAccountRemove(f *flags) *cobra.Command {
	var yes, deleteKey bool
	cmd := &cobra.Command{
		Use:   "remove ACCOUNT",
		Short: "Remove an account with everything in it",
		Long: "Removes an account: its contacts, its messages and its history, for good. The key file stays below keys/, with\n" +
			"the ending .removed, and can be imported again; with --delete-key it is deleted too. It asks before.",
		Args:              oneArg("ACCOUNT"),
		ValidArgsFunction: f.completeAccount,
		RunE: func(cmd *cobra.Command, args []string) error {
			api, err := f.client()
			if err != nil {
				return err
			}
			defer api.Close()
			a, err := api.ChangeAccount(cmd.Context(), args[0], control.AccountChange{})
			if err != nil {
				return err
			}
			what := fmt.Sprintf("the account %q with its contacts and messages", a.Name)
			if deleteKey {
				what += "  and its key: without a copy nobody can act as it again"
			}
			if err := confirm(cmd, yes, what, a.Name); err != nil {
				return err
			}
			if err := api.RemoveAccount(cmd.Context(), a.ID, deleteKey); err != nil {
				return err
			}
			return f.print(cmd.OutOrStdout(), a, func() { fmt.Fprintf(cmd.OutOrStdout(), "%s is removed\n", printable(a.Name)) })
		},
	}
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	cmd.Flags().BoolVar(&deleteKey, "delete-key", false, "delete the secret key too")
	return cmd
}

func newAccountSet(f *flags) *cobra.Command {
	var name, info, avatar, strangers, role, forwardTo, greeting string
	var forwardGroups bool
	cmd := &cobra.Command{
		Use:   "set ACCOUNT",
		Short: "Change the profile, the role and the rules of an account",
		Long: "Changes what is given and leaves the rest. Contacts who are connected see a new profile at once, all others\n" +
			"the next time. What the roles mean is in docs/roles.md.",
		Args:              oneArg("ACCOUNT"),
		ValidArgsFunction: f.completeAccount,
		RunE: func(cmd *cobra.Command, args []string) error {
			var change control.AccountChange
			given := func(flag string, value *string, field **string) {
				if cmd.Flags().Changed(flag) {
					*field = value
				}
			}
			given("name", &name, &change.Name)
			given("info", &info, &change.Info)
			given("strangers", &strangers, &change.Strangers)
			given("role", &role, &change.Role)
			given("hand-over", &forwardTo, &change.ForwardTo)
			if cmd.Flags().Changed("hand-over-groups") {
				change.ForwardGroups = &forwardGroups
			}
			if cmd.Flags().Changed("avatar") {
				var err error
				if change.Avatar, err = readAvatar(avatar); err != nil {
					return err
				}
				change.NoAvatar = len(change.Avatar) == 0
			}
			if cmd.Flags().Changed("greeting") {
				var err error
				if change.Greeting, err = readGreeting(greeting); err != nil {
					return err
				}
				change.NoGreeting = len(change.Greeting) == 0
			}
			if !somethingGiven(cmd) {
				return errors.New("nothing to change; give --name, --info, --avatar, --strangers, --role, --hand-over, --hand-over-groups or --greeting")
			}
			return f.withAccount(cmd, "%s is changed\n", func(api *client.Client) (control.Account, error) {
				return api.ChangeAccount(cmd.Context(), args[0], change)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&name, "name", "", "what the account is called")
	flags.StringVar(&info, "info", "", "what people can read about it")
	flags.StringVar(&avatar, "avatar", "", "a picture file of at most 50 KiB; an empty name removes the picture")
	flags.StringVar(&strangers, "strangers", "", "what happens when somebody unknown connects: ask, accept or refuse")
	flags.StringVar(&role, "role", "", "the part of this node beside a phone with the same account: primary, backup or mirror")
	flags.StringVar(&forwardTo, "hand-over", "", "the account that forwards to the phone what this one receives; an empty name ends that")
	flags.BoolVar(&forwardGroups, "hand-over-groups", false, "forward what groups say, too: for a phone that is not in them; =false ends that")
	flags.StringVar(&greeting, "greeting", "", "an AAC file (.aac, .m4a) that the answering machine plays to contacts who call; an empty name turns it off")
	return cmd
}

// somethingGiven reports whether a flag of this command was given.
func somethingGiven(cmd *cobra.Command) bool {
	given := false
	cmd.Flags().Visit(func(f *pflag.Flag) { given = given || cmd.LocalNonPersistentFlags().Lookup(f.Name) != nil })
	return given
}

// readAvatar reads a picture; without a name there is none.
func readAvatar(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read avatar: %w", err)
	}
	defer func() { _ = file.Close() }()                             // only read
	picture, err := io.ReadAll(io.LimitReader(file, maxAvatarFile)) //nolint:forbidigo // through a limit
	if err != nil {
		return nil, fmt.Errorf("read avatar: %w", err)
	}
	if len(picture) == 0 {
		return nil, fmt.Errorf("read avatar: %s is empty", path)
	}
	if len(picture) > 50<<10 {
		return nil, fmt.Errorf("the picture %s is larger than 50 KiB, which is the most that apps take; make it smaller, for example 256 by 256 as a JPEG", path)
	}
	return picture, nil
}

// readGreeting reads the file of a greeting; without a name there is none. The node checks
// what is in it.
func readGreeting(path string) ([]byte, error) {
	if path == "" {
		return nil, nil
	}
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read greeting: %w", err)
	}
	defer func() { _ = file.Close() }()                                            // only read
	greeting, err := io.ReadAll(io.LimitReader(file, answering.MaxGreetingFile+1)) //nolint:forbidigo // through a limit
	switch {
	case err != nil:
		return nil, fmt.Errorf("read greeting: %w", err)
	case len(greeting) == 0:
		return nil, fmt.Errorf("read greeting: %s is empty", path)
	case len(greeting) > answering.MaxGreetingFile:
		return nil, fmt.Errorf("the greeting %s is larger than %d KiB; it may play for a minute, which takes 360 KiB at 48 kbit/s", path, answering.MaxGreetingFile>>10)
	}
	return greeting, nil
}

// withAccount runs a request whose answer is an account, and prints a
// sentence with its name.
func (f *flags) withAccount(cmd *cobra.Command, sentence string, do func(*client.Client) (control.Account, error)) error {
	return answer(f, cmd, do, func(w io.Writer, a control.Account) { fmt.Fprintf(w, sentence, printable(a.Name)) })
}

// completeAccount offers the names of accounts when the shell asks for them.
func (f *flags) completeAccount(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return complete(f, args, func(api *client.Client) ([]control.Account, error) { return api.Accounts(cmd.Context()) },
		func(a control.Account) cobra.Completion { return cobra.CompletionWithDesc(printable(a.Name), a.ID) })
}

// complete offers a completion for each of what list returns, where args has none yet; none
// when the node does not answer.
func complete[T any](f *flags, args []string, list func(*client.Client) ([]T, error), completion func(T) cobra.Completion) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	api, err := f.client()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer api.Close()
	all, err := list(api)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var completions []cobra.Completion
	for _, one := range all {
		completions = append(completions, completion(one))
	}
	return completions, cobra.ShellCompDirectiveNoFileComp
}
