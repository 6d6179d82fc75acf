// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/mimird/mimird/actors/backup"
	"github.com/mimird/mimird/actors/backup/schedule"
	"github.com/mimird/mimird/actors/backup/target"
	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/kernel"
	"github.com/mimird/mimird/actors/node"
	"github.com/mimird/mimird/cmd/internal/watch"
	"github.com/mimird/mimird/config"
)

// nodeDigits is how much of the key of a node is in the names of its backups.
const nodeDigits = 8

// backupsPart makes what makes the backups of a configuration, what asks it for its status,
// and what has it make one now.
func backupsPart(f *flags, c config.Config) (node.Part, func(context.Context) (any, error), func(context.Context) (bool, error), error) {
	where := targetOptions(f, c.Backup)
	if err := where.Check(); err != nil {
		return node.Part{}, nil, nil, fmt.Errorf("backup.target: %w", err)
	}
	var running *node.Node
	part := node.Part{Name: schedule.PartName, New: func(n *node.Node) kernel.Actor {
		running = n // before the control API, which asks it, is started
		keep := c.Backup.Keep
		return schedule.New(schedule.Deps{
			Dir: f.dir, Node: keyOf(n)[:nodeDigits], Where: c.Backup.Target,
			Every: time.Duration(c.Backup.Every), TooOld: time.Duration(c.Backup.TooOld),
			Keep: schedule.Keep{Last: keep.Last, Daily: keep.Daily, Weekly: keep.Weekly, Monthly: keep.Monthly},
			Open: func(ctx context.Context) (target.Target, error) { return target.Open(ctx, where) },
			Write: func(ctx context.Context, w io.Writer) ([]string, error) {
				return writeScheduled(ctx, f, c, n, w)
			},
			Verify: func(_ context.Context, r io.Reader) error { return verifyScheduled(f, c, r) },
			Now:    time.Now,
		})
	}}
	ask := func(ctx context.Context) (any, error) {
		ref, err := running.Part(ctx, schedule.PartName)
		if err != nil {
			return nil, err
		}
		return kernel.Ask[schedule.Status](ctx, ref, schedule.StatusRequest{})
	}
	begin := func(ctx context.Context) (bool, error) {
		ref, err := running.Part(ctx, schedule.PartName)
		if err != nil {
			return false, err
		}
		return kernel.Ask[bool](ctx, ref, schedule.MakeNow{})
	}
	return part, ask, begin, nil
}

// keyOf returns the key that tells a node from others: a server has none but its role's.
func keyOf(n *node.Node) string {
	for _, of := range []func() (key fmt.Stringer, has bool){
		func() (fmt.Stringer, bool) { return n.Key(), !n.Key().IsZero() },
		func() (fmt.Stringer, bool) { key, has := n.TrackerKey(); return key, has },
		func() (fmt.Stringer, bool) { key, has := n.FilesKey(); return key, has },
		func() (fmt.Stringer, bool) { key, has := n.MediatorKey(); return key, has },
	} {
		if key, has := of(); has {
			return key.String()
		}
	}
	return n.Key().String()
}

func targetOptions(f *flags, b config.Backup) target.Options {
	return target.Options{
		URL: b.Target, Dir: f.dir,
		SFTP: target.SFTP{KeyFile: f.below(b.SFTP.KeyFile), PasswordFile: f.below(b.SFTP.PasswordFile), KnownHosts: f.below(b.SFTP.KnownHosts)},
		S3:   target.S3{Endpoint: b.S3.Endpoint, Region: b.S3.Region, AccessKey: b.S3.AccessKey, SecretKeyFile: f.below(b.S3.SecretKeyFile)},
	}
}

// below returns a path of the configuration: what is not absolute is in the data
// directory.
func (f *flags) below(path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(f.dir, path)
}

// backupPassphrase reads the passphrase of the backups that the node makes by itself.
func backupPassphrase(f *flags, c config.Config) (string, error) {
	text, err := os.Getenv(passphraseEnv), error(nil)
	if c.Backup.PassphraseFile != "" {
		text, err = firstLine(f.below(c.Backup.PassphraseFile))
	}
	if err == nil && text == "" {
		err = errors.New("there is none; name a file that has it, or set " + passphraseEnv)
	}
	if err != nil {
		return "", fmt.Errorf("backup.passphrase_path: %w", err)
	}
	return text, nil
}

// writeScheduled writes an encrypted backup of a running node. It fails also when what was
// written could not be restored: the copy of the store is read as restore reads it.
func writeScheduled(ctx context.Context, f *flags, c config.Config, n *node.Node, w io.Writer) (left []string, err error) {
	secret, err := backupPassphrase(f, c)
	if err != nil {
		return nil, err
	}
	err = encrypted(w, secret, func(w io.Writer) (err error) {
		left, err = writeBackup(ctx, f, c, n, w, control.BackupRequest{WithoutHosted: c.Backup.WithoutHosted}, checkRestored)
		return err
	})
	return left, err
}

func verifyScheduled(f *flags, c config.Config, r io.Reader) error {
	plain, err := backup.Decrypt(r, func() (string, error) { return backupPassphrase(f, c) })
	if err != nil {
		return err
	}
	_, err = backup.Verify(plain)
	return err
}

// backupsLine says in words how the backups are.
func backupsLine(part json.RawMessage, now time.Time) string {
	s := schedule.ParseStatus(part)
	if s == nil {
		return "their state is not known: " + watch.PartError(part)
	}
	text := "none yet at " + s.Target
	if s.LastGood != nil {
		text = fmt.Sprintf("the last good one is %s old, %s, at %s; %s there", age(now.Sub(s.LastGood.Time)),
			humanize.IBytes(uint64(s.LastGood.Bytes)), s.Target, plural(s.Kept, "is", "are"))
	}
	switch {
	case !s.Running.IsZero():
		text += "; one is under way since " + s.Running.Local().Format(time.TimeOnly)
	case s.Failures > 0:
		text += fmt.Sprintf("; %s failed since: %s; next attempt at %s", plural(s.Failures, "attempt", "attempts"), s.Error, s.Next.Local().Format(time.DateTime))
	default:
		text += "; the next at " + s.Next.Local().Format(time.DateTime)
	}
	return text
}

// age rounds a time for people.
func age(d time.Duration) string {
	switch {
	case d < time.Minute:
		return "less than a minute"
	case d < 2*time.Hour:
		return plural(int(d/time.Minute), "minute", "minutes")
	case d < 48*time.Hour:
		return plural(int(d/time.Hour), "hour", "hours")
	}
	return plural(int(d/(24*time.Hour)), "day", "days")
}

// backupsWarnings returns what of the backups a person should look at.
func backupsWarnings(s control.Status) []string {
	b := schedule.ParseStatus(s.Parts[schedule.PartName])
	if b == nil || b.Problem() == "" {
		return nil
	}
	return []string{b.Problem()}
}
