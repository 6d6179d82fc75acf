// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control/browsers"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/actors/page"
	"github.com/mimird/mimird/config"
)

// pageFile has the sessions of browsers and the hash of the password.
const pageFile = "page.json"

// pagePart makes the page for browsers of a configuration; has is false when it wants none.
func pagePart(f *flags, c config.Config, backup func(context.Context) (bool, error)) (part node.Part, access *page.Access, has bool) {
	listen, any := c.Page.Address()
	if !c.Has(config.RoleNode) || listen == "" {
		return node.Part{}, nil, false
	}
	access = page.NewAccess(filepath.Join(f.dir, pageFile))
	return node.Part{Name: page.Name, New: page.New(page.Options{
		Listen: listen, AnyPort: any, URL: c.Page.URL, Access: access,
		Client: func() *client.Client { return client.New(f.socket(c)) }, Backup: backup,
	})}, access, true
}

func newPage(f *flags) *cobra.Command {
	cmd := group(&cobra.Command{
		Use:   "page",
		Short: "Let browsers in to the node's page, and out",
		Long: "The node serves a page for browsers, on this machine alone unless page.listen says otherwise. These commands say who\n" +
			"may see it. See docs/page.md.",
	})
	cmd.AddCommand(newPageLink(f), newPageSessions(f), newPageLogout(f), newPagePassword(f))
	return cmd
}

func newPageLink(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "link",
		Short: "Print a link that lets one browser in",
		Long:  "Prints a link that lets one browser in. It works once, for ten minutes.",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return answer(f, cmd, func(api *client.Client) (browsers.PageLink, error) {
				return api.PageLink(cmd.Context())
			}, func(out io.Writer, link browsers.PageLink) { fmt.Fprintln(out, link.URL) })
		},
	}
}

func newPageSessions(f *flags) *cobra.Command {
	return &cobra.Command{
		Use:   "sessions",
		Short: "List the browsers that are logged in",
		Args:  noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return answer(f, cmd, func(api *client.Client) (browsers.PageState, error) {
				return api.Page(cmd.Context())
			}, printPage)
		},
	}
}

func printPage(out io.Writer, p browsers.PageState) {
	where, password := p.URL, "no password"
	if where == "" {
		where = "not served at this moment"
	}
	if p.Password {
		password = "with a password"
	}
	fmt.Fprintf(out, "page   %s, %s\n", where, password)
	if len(p.Sessions) == 0 {
		fmt.Fprintln(out, "no browser is logged in; let one in with: mimird page link")
		return
	}
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "SESSION\tLOGGED IN\tLAST USED\tFROM\tBROWSER\n")
	for _, s := range p.Sessions {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\n", s.ID, s.Created.Local().Format(time.DateTime), s.Used.Local().Format(time.DateTime), s.From, cut(printable(s.Agent)))
	}
	_ = w.Flush() // what it writes to reports its own errors
}

func newPageLogout(f *flags) *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use:   "logout [SESSION]",
		Short: "Log a browser out, or all of them",
		Args: func(cmd *cobra.Command, args []string) error {
			if all == (len(args) == 1) || len(args) > 1 {
				return fmt.Errorf("%s takes one SESSION, or --all%s", cmd.CommandPath(), seeHelp(cmd))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			return answer(f, cmd, func(api *client.Client) (done, error) {
				id := ""
				if len(args) == 1 {
					if id = args[0]; id == "" {
						return done{}, errors.New("the SESSION is empty; mimird page sessions lists them")
					}
				}
				return done{"logged out"}, api.EndPageSession(cmd.Context(), id)
			}, func(out io.Writer, d done) { fmt.Fprintln(out, d.Done) })
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "all browsers")
	return cmd
}

func newPagePassword(f *flags) *cobra.Command {
	var remove bool
	var secret passphrase
	cmd := &cobra.Command{
		Use:   "password",
		Short: "Set a password for the page",
		Long: "Sets the passphrase with which browsers may log in. Without one they come in by links alone. Browsers that are logged\n" +
			"in stay so; mimird page logout --all logs them out.",
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !remove {
				if err := secret.ask(cmd, "Password for the page", true); err != nil {
					return err
				}
			}
			return answer(f, cmd, func(api *client.Client) (done, error) {
				if remove {
					return done{"there is no password any more"}, api.SetPagePassword(cmd.Context(), "")
				}
				return done{"the password is set"}, api.SetPagePassword(cmd.Context(), secret.text)
			}, func(out io.Writer, d done) { fmt.Fprintln(out, d.Done) })
		},
	}
	secret.flag(cmd)
	cmd.Flags().BoolVar(&remove, "remove", false, "remove the password")
	return cmd
}
