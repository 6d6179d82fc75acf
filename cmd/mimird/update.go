// SPDX-License-Identifier: MPL-2.0

package main

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/cmd/internal/update"
)

// updateURL and updateKey are where a release finds the release list, and the key that the
// list is signed with; set by the linker. The configuration can name others.
var updateURL, updateKey string

// errUpdate means that there is a newer release.
var errUpdate = errors.New("there is a newer version")

func newUpdate(f *flags) *cobra.Command {
	cmd := group(&cobra.Command{
		Use: "update", Short: "See whether there is a newer version",
		Long: "Sees whether there is a newer version. Nothing is ever asked by itself, and nothing is installed: that is for the\n" +
			"package manager, or for you.",
	})
	cmd.AddCommand(&cobra.Command{
		Use: "check", Short: "Ask the release list whether there is a newer version",
		Long: "Fetches the signed list of releases and says whether one is newer than this program. The node need not run. The\n" +
			"server learns your address and nothing else.\n\n" +
			"The exit code is 8 when there is a newer version, 9 when the list was rejected (a wrong signature, or an older list\n" +
			"than before), and 1 when it could not be fetched.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return checkUpdate(cmd, f) },
	})
	return cmd
}

func checkUpdate(cmd *cobra.Command, f *flags) error {
	c, err := f.load()
	if err != nil {
		return err
	}
	o := update.Options{URL: cmp.Or(c.Update.URL, updateURL), Key: cmp.Or(c.Update.Key, updateKey), Current: version().Version, Dir: f.dir}
	if o.URL == "" || o.Key == "" {
		return configError{errors.New("this build does not know where the release list is: set update.url and update.key in the configuration")}
	}
	a, err := update.Check(cmd.Context(), o)
	if err != nil {
		if ctxErr := cmd.Context().Err(); ctxErr != nil {
			return ctxErr
		}
		return err
	}
	if err := f.print(cmd.OutOrStdout(), a, func() { printUpdate(cmd.OutOrStdout(), a) }); err != nil {
		return err
	}
	if !a.Newer {
		return nil
	}
	if a.Security {
		return fmt.Errorf("%w, %s, with fixes of security: install it soon, from %s", errUpdate, a.Latest, a.URL)
	}
	return fmt.Errorf("%w, %s: install it from %s, or by the package manager", errUpdate, a.Latest, a.URL)
}

func printUpdate(out io.Writer, a update.Answer) {
	current := a.Current
	if !a.Release {
		current = cmp.Or(current, "unknown") + ", not a release"
	}
	fmt.Fprintf(out, "this version  %s\nnewest        %s\nlist of       %s\n", current, cmp.Or(a.Latest, "none"), a.Issued.Local().Format(time.DateTime))
	if !a.Kept {
		fmt.Fprintln(out, "There is no data directory here (--data), so an older list would not be noticed next time.")
	}
}
