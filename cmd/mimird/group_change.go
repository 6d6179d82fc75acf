// SPDX-License-Identifier: MPL-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
	"github.com/mimird/mimird/proto/wire"
)

// Commands that ask the mediator of a group for something. The node repeats the request until
// it is answered; a command waits for the answer for a moment.

// answerWait is how long commands wait without --wait.
const answerWait = 10 * time.Second

// maxWait is the longest wait that the API takes.
const maxWait = 10 * time.Minute

// waitHelp is the end of the help of commands that wait.
const waitHelp = "\n\nThe command waits 10 seconds for the answer of the mediator, or as --wait says. The request is safe before: the\n" +
	"node repeats it until it is answered, and mimird group show lists it. When a time given with --wait runs out, the exit\ncode is 7."

// waitFlag adds --wait.
func waitFlag(cmd *cobra.Command, wait *time.Duration) *cobra.Command {
	cmd.Flags().DurationVar(wait, "wait", answerWait, "wait that long for the mediator, at most 10m")
	return cmd
}

// asks queues a task and prints what has become of it: sentence when it is done.
func (f *flags) asks(cmd *cobra.Command, wait time.Duration, sentence string, do func(*client.Client) (control.GroupTask, error)) error {
	if err := checkWait(wait); err != nil {
		return err
	}
	api, err := f.client()
	if err != nil {
		return err
	}
	defer api.Close()
	task, err := do(api)
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	return errors.Join(f.print(out, task, func() { fmt.Fprintln(out, taskLine(task, sentence)) }), unanswered(cmd, task, wait))
}

func checkWait(wait time.Duration) error {
	if wait < 0 || wait > maxWait || wait%time.Second != 0 {
		return fmt.Errorf("--wait: want whole seconds from 0s to 10m, have %v", wait)
	}
	return nil
}

// taskLine says what has become of a task: sentence when it is done.
func taskLine(task control.GroupTask, sentence string) string {
	switch {
	case task.State != "done":
		return fmt.Sprintf("queued as task %d; the mediator has not answered yet", task.Task)
	case task.Note != "":
		return fmt.Sprintf("%s (%s)", sentence, printable(task.Note))
	}
	return sentence
}

// unanswered is an error when the user has said how long to wait, and the time has run out.
func unanswered(cmd *cobra.Command, task control.GroupTask, wait time.Duration) error {
	if task.State == "done" || wait == 0 || !cmd.Flags().Changed("wait") {
		return nil
	}
	return fmt.Errorf("the mediator has not answered within %v: %w", wait, errTaskWaiting)
}

// errTaskWaiting says that a mediator has not answered in time.
var errTaskWaiting = errors.New("the request is safe, and the node repeats it")

// article is the one before the name of an argument.
func article(name string) string {
	if strings.ContainsAny(name[:1], "AEIOU") {
		return "an"
	}
	return "a"
}

// twoArgs takes two arguments, as the help calls them.
func twoArgs(first, second string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 2 || args[0] == "" || args[1] == "" {
			return fmt.Errorf("%s takes a %s and %s %s%s", cmd.CommandPath(), first, article(second), second, seeHelp(cmd))
		}
		return nil
	}
}

func newGroupInvite(f *flags) *cobra.Command {
	var wait time.Duration
	return waitFlag(&cobra.Command{
		Use:   "invite GROUP IDENTITY",
		Short: "Invite somebody to a group",
		Long: "Invites somebody, given by key, link or the name of a contact. The key of the group travels encrypted for them. Owners,\n" +
			"admins and moderators may invite." + waitHelp,
		Args: twoArgs("GROUP", "IDENTITY"), ValidArgsFunction: f.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.asks(cmd, wait, "invited", func(api *client.Client) (control.GroupTask, error) {
				return api.InviteToGroup(cmd.Context(), f.account, args[0], args[1], wait)
			})
		},
	}, &wait)
}

func newGroupLeave(f *flags) *cobra.Command {
	var wait time.Duration
	return waitFlag(&cobra.Command{
		Use:   "leave GROUP",
		Short: "Leave a group",
		Long:  "Leaves a group. Its messages stay; mimird group remove removes them. The owner cannot leave, but delete the group." + waitHelp,
		Args:  oneArg("GROUP"), ValidArgsFunction: f.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.asks(cmd, wait, "you have left the group", func(api *client.Client) (control.GroupTask, error) {
				return api.LeaveGroup(cmd.Context(), f.account, args[0], wait)
			})
		},
	}, &wait)
}

func newGroupDelete(f *flags) *cobra.Command {
	var wait time.Duration
	var yes bool
	cmd := waitFlag(&cobra.Command{
		Use:   "delete GROUP",
		Short: "Delete a group for everybody",
		Long:  "Deletes a group for all members, for good. Only who created it may. It asks before." + waitHelp,
		Args:  oneArg("GROUP"), ValidArgsFunction: f.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			return f.asks(cmd, wait, "the group is deleted", func(api *client.Client) (control.GroupTask, error) {
				g, err := api.Group(cmd.Context(), f.account, args[0])
				if err != nil {
					return control.GroupTask{}, err
				}
				if err := confirm(cmd, yes, fmt.Sprintf("the group %q for all members", g.Name), g.Name); err != nil {
					return control.GroupTask{}, err
				}
				return api.DeleteGroup(cmd.Context(), f.account, g.ID, wait)
			})
		},
	}, &wait)
	cmd.Flags().BoolVar(&yes, "yes", false, "do not ask")
	return cmd
}

func newGroupRole(f *flags) *cobra.Command {
	var wait time.Duration
	return waitFlag(&cobra.Command{
		Use:   "role GROUP MEMBER ROLE",
		Short: "Give a member another role",
		Long: "Makes a member owner, admin, moderator, user or read-only. The member is given by key, the first 8 digits of it or\n" +
			"more, or, a contact, by name. Owners and admins may, and only an owner where an owner is concerned." + waitHelp,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) != 3 || args[0] == "" || args[1] == "" || args[2] == "" {
				return fmt.Errorf("%s takes a GROUP, a MEMBER and a ROLE%s", cmd.CommandPath(), seeHelp(cmd))
			}
			return nil
		},
		ValidArgsFunction: f.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			switch args[2] {
			case "owner", "admin", "moderator", "user", "read-only":
			default:
				return fmt.Errorf("%q is not a role; give owner, admin, moderator, user or read-only", clip(args[2]))
			}
			return f.asks(cmd, wait, "the role is "+args[2]+" now", func(api *client.Client) (control.GroupTask, error) {
				return api.SetGroupRole(cmd.Context(), f.account, args[0], args[1], args[2], wait)
			})
		},
	}, &wait)
}

func newGroupBan(f *flags, banned bool) *cobra.Command {
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "ban GROUP MEMBER",
		Short: "Ban a member from a group",
		Long: "Bans a member, given by key, the first 8 digits of it or more, or, a contact, by name. They keep what they have read,\n" +
			"and the key of the group. Owners, admins and moderators may." + waitHelp,
		Args: twoArgs("GROUP", "MEMBER"), ValidArgsFunction: f.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			sentence := "banned"
			if !banned {
				sentence = "a member again"
			}
			return f.asks(cmd, wait, sentence, func(api *client.Client) (control.GroupTask, error) {
				return api.BanFromGroup(cmd.Context(), f.account, args[0], args[1], banned, wait)
			})
		},
	}
	if !banned {
		cmd.Use, cmd.Short = "unban GROUP MEMBER", "Lift a ban from a group"
		cmd.Long = "Lifts a ban and makes somebody a member again, with the role user. Owners, admins and moderators may." + waitHelp
	}
	return waitFlag(cmd, &wait)
}

// groupChange is what mimird group set changes.
type groupChange struct {
	edit     control.GroupEdit
	settings control.GroupSettings
}

// groupSet is what mimird group set prints with --json.
type groupSet struct {
	Group control.Group      `json:"group"`
	Task  *control.GroupTask `json:"task,omitempty"`
}

func newGroupSet(f *flags) *cobra.Command {
	var wait time.Duration
	var name, description, picture, download string
	var muted bool
	cmd := &cobra.Command{
		Use:   "set GROUP",
		Short: "Change a group for everybody, or its settings on this node",
		Long: "Changes name, description or picture for all members, which owners and admins may, or what this node does about the\n" +
			"group: --muted tells programs that show the messages, such as the Matrix bridge, not to notify about them, and\n" +
			"--auto-download says up to which size files are fetched without being asked for." + waitHelp,
		Args: oneArg("GROUP"), ValidArgsFunction: f.completeGroup,
		RunE: func(cmd *cobra.Command, args []string) error {
			var c groupChange
			given := cmd.Flags().Changed
			if given("name") {
				c.edit.Name = &name
			}
			if given("description") {
				c.edit.Description = &description
			}
			if err := checkGroupTexts(c.edit.Name, c.edit.Description); err != nil {
				return err
			}
			if given("muted") {
				c.settings.Muted = &muted
			}
			if given("auto-download") {
				size, err := autoDownload(download)
				if err != nil {
					return err
				}
				c.settings.AutoDownload = &size
			}
			if given("picture") && picture == "" {
				c.edit.RemoveAvatar = true
			} else if given("picture") {
				var err error
				if c.edit.Avatar, err = readGroupPicture(picture); err != nil {
					return err
				}
			}
			return setGroup(cmd, f, args[0], c, wait)
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "1 to 25 characters, for everybody")
	cmd.Flags().StringVar(&description, "description", "", "at most 200 characters, for everybody")
	cmd.Flags().StringVar(&picture, "picture", "", "image `file` of at most 200 KiB, for everybody; empty for none")
	cmd.Flags().BoolVar(&muted, "muted", false, "do not notify about messages")
	cmd.Flags().StringVar(&download, "auto-download", "", "a `size` such as 5MiB, never, or default")
	return waitFlag(cmd, &wait)
}

// autoDownload reads the value of the flag: as control.GroupSettings has it.
func autoDownload(text string) (int64, error) {
	switch text {
	case "never":
		return -1, nil
	case "default":
		return 0, nil
	}
	size, err := humanize.ParseBytes(text)
	if err != nil || size == 0 || size > 1<<40 {
		return 0, fmt.Errorf("--auto-download: want a size such as 5MiB, never or default, have %q", clip(text))
	}
	return int64(size), nil //nolint:gosec // at most 1 TiB
}

func setGroup(cmd *cobra.Command, f *flags, name string, c groupChange, wait time.Duration) error {
	everybody := c.edit.Name != nil || c.edit.Description != nil || len(c.edit.Avatar) > 0 || c.edit.RemoveAvatar
	here := c.settings.Muted != nil || c.settings.AutoDownload != nil
	if !everybody && !here {
		return errors.New("nothing is to be changed; give a flag, see: mimird group set --help")
	}
	if err := checkWait(wait); err != nil {
		return err
	}
	api, err := f.client()
	if err != nil {
		return err
	}
	defer api.Close()
	var set groupSet
	set.Group, err = api.Group(cmd.Context(), f.account, name)
	if err == nil && here {
		set.Group, err = api.SetGroup(cmd.Context(), f.account, set.Group.ID, c.settings)
	}
	if err == nil && everybody {
		var task control.GroupTask
		if task, err = api.EditGroup(cmd.Context(), f.account, set.Group.ID, c.edit, wait); err == nil {
			set.Task = &task
			set.Group, err = api.Group(cmd.Context(), f.account, set.Group.ID)
		}
	}
	if err != nil {
		return err
	}
	out := cmd.OutOrStdout()
	err = f.print(out, set, func() {
		line := "the group is changed"
		if set.Task != nil {
			line = taskLine(*set.Task, line)
		}
		fmt.Fprintln(out, line)
	})
	if set.Task != nil {
		err = errors.Join(err, unanswered(cmd, *set.Task, wait))
	}
	return err
}

// checkGroupTexts fails when a name or a description, nil for none, has another length than
// mediators accept.
func checkGroupTexts(name, description *string) error {
	if name != nil {
		if n := utf8.RuneCountInString(*name); n > wire.MaxGroupName || strings.TrimSpace(printable(*name)) == "" {
			return fmt.Errorf("the name of a group has 1 to %d characters, and this one %d; give another one", wire.MaxGroupName, n)
		}
	}
	if description != nil {
		if n := utf8.RuneCountInString(*description); n > wire.MaxGroupDescription {
			return fmt.Errorf("the description of a group has at most %d characters, and this one %d; shorten it", wire.MaxGroupDescription, n)
		}
	}
	return nil
}

// readGroupPicture reads the picture of a group.
func readGroupPicture(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read picture: %w", err)
	}
	defer func() { _ = file.Close() }()                                     // only read
	picture, err := io.ReadAll(io.LimitReader(file, wire.MaxGroupAvatar+1)) //nolint:forbidigo // through a limit
	switch {
	case err != nil:
		return nil, fmt.Errorf("read picture: %w", err)
	case len(picture) == 0:
		return nil, fmt.Errorf("the picture %s is empty; give an image file", path)
	case len(picture) > wire.MaxGroupAvatar:
		return nil, fmt.Errorf("the picture %s is larger than 200 KiB, which is the most that mediators take; make it smaller", path)
	}
	return picture, nil
}
