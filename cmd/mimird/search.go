// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

// maxFound is the most messages that search prints at once, a page of the API.
const maxFound = 200

func newSearch(f *flags) *cobra.Command {
	var q control.Search
	var since, until string
	var rebuild bool
	cmd := &cobra.Command{
		Use:   "search [WORDS...]",
		Short: "Find messages, contacts and groups",
		Long: "Finds messages that contain all the words, the latest first: in texts, captions and names of files. Case and\n" +
			"accents do not matter. A word of three letters or more also finds longer ones that begin with it; words in double\n" +
			"quotes are found exactly, one after the other (in a shell: '\"old bridge\"'). Without words it lists what the\n" +
			"flags ask for. Contacts and groups whose name contains the words come first.\n\n" +
			"The running node keeps an index for this. Damage of it is noticed and repaired; --rebuild builds it again.",
		Example: "  mimird search bridge tomorrow\n  mimird search --with Bob --since 2026-11-01 --files",
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			q.Words = strings.Join(args, " ")
			if rebuild {
				return rebuildSearch(cmd, f, &q, since, until)
			}
			if q.Limit < 1 || q.Limit > maxFound {
				return fmt.Errorf("--limit: want a number from 1 to %d, have %d", maxFound, q.Limit)
			}
			if q.Since, err = dayOrTime("--since", since, 0); err != nil {
				return err
			}
			if q.Until, err = dayOrTime("--until", until, 1); err != nil {
				return err
			}
			return answer(f, cmd, func(api *client.Client) (control.Found, error) {
				return api.Search(cmd.Context(), f.account, q)
			}, printFound)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&q.With, "with", "", "only the conversation with this `contact` or group")
	flags.StringVar(&q.From, "from", "", "only what this `contact` has written; - for your own messages")
	flags.StringVar(&since, "since", "", "only what was sent on this `day` or later, such as 2026-11-30, or a time such as 2026-11-30T08:00")
	flags.StringVar(&until, "until", "", "only what was sent on this `day` or before, or before a time")
	flags.BoolVar(&q.Files, "files", false, "only messages with files")
	flags.IntVar(&q.Limit, "limit", 20, "at most this many messages")
	flags.StringVar(&q.Before, "before", "", "the `page` after the last one, as that said")
	flags.BoolVar(&rebuild, "rebuild", false, "remove the index and build it again from the messages, in the background")
	_ = cmd.RegisterFlagCompletionFunc("with", f.completeContact) // the flag is there
	_ = cmd.RegisterFlagCompletionFunc("from", f.completeContact) // (same)
	return cmd
}

func rebuildSearch(cmd *cobra.Command, f *flags, q *control.Search, since, until string) error {
	if q.Words+q.With+q.From+q.Before+since+until != "" || q.Files {
		return errors.New("--rebuild goes alone: search when it is done")
	}
	api, err := f.client()
	if err != nil {
		return err
	}
	defer api.Close()
	if err := api.RebuildSearch(cmd.Context()); err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	return f.print(out, done{Done: "rebuilding"}, func() {
		fmt.Fprintln(out, "The search index is built again. Until that is done a search says that messages may be missing.")
	})
}

// dayOrTime reads a day or a time of this time zone; a day plus days is its end for 1. The
// zero time for nothing.
func dayOrTime(flag, text string, days int) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return day.AddDate(0, 0, days), nil
	}
	for _, layout := range []string{"2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02T15:04:05", time.DateTime} {
		if at, err := time.ParseInLocation(layout, text, time.Local); err == nil {
			return at, nil
		}
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	return time.Time{}, fmt.Errorf("%s: want a day such as 2026-11-30, or a time such as 2026-11-30T08:00, have %q", flag, clip(text))
}

func printFound(out io.Writer, found control.Found) {
	for _, name := range found.Names {
		kind, id := "contact", keyStart(name.Contact)
		if name.Group != "" {
			kind, id = "group", name.Group
		}
		fmt.Fprintf(out, "%s %s  %s\n", kind, printable(name.Name), id)
	}
	for _, hit := range slices.Backward(found.Messages) {
		m := hit.Message
		where, who := printable(hit.Name), printable(hit.Name)
		switch {
		case m.Direction == "out":
			who = "you"
		case m.Group != "":
			who = printable(m.AuthorName)
			if who == "" {
				who = keyStart(m.Author)
			}
		}
		if m.Direction == "out" || m.Group != "" {
			who += " (" + where + ")"
		}
		text := printable(hit.Excerpt)
		if m.File != nil {
			text = summary(m)
		}
		fmt.Fprintf(out, "%s  %-*s  %s: %s\n", m.Sent.Local().Format(time.DateTime), idWidth, m.ID, who, text)
	}
	switch {
	case found.Next != "":
		fmt.Fprintf(out, "-- there may be more: the same with --before %s --\n", found.Next)
	case len(found.Messages)+len(found.Names) == 0:
		fmt.Fprintln(out, "nothing found")
	}
	if found.Unread > 0 {
		fmt.Fprintf(out, "-- the index has %d events to read, so messages may be missing --\n", found.Unread)
	}
}
