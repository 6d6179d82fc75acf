// SPDX-License-Identifier: MPL-2.0

package mediatorserver

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/mediator"
)

const (
	careEvery = time.Hour
	// inviteTime is how long an invite is kept. Reference: 3 days.
	inviteTime = 72 * time.Hour
	// careBatch is how many rows one operation removes.
	careBatch = 256
)

// carer removes what has expired and what is left of deleted groups.
type carer struct {
	deps Deps
	opts Options
	// sweep is signalled when a group was deleted.
	sweep <-chan struct{}
}

// run works until ctx ends. An error that is not that of ctx restarts the role.
func (r *carer) run(ctx context.Context) error {
	every := time.NewTicker(careEvery)
	defer every.Stop()
	for {
		if err := r.removeDeleted(ctx); err != nil {
			return err
		}
		if err := r.expire(ctx); err != nil {
			return err
		}
		select {
		case <-every.C:
		case <-r.sweep:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// skippedIDs is more than a group can have got messages since the last backup.
const skippedIDs = 1 << 40

// skipIDs takes into account that the store was restored: no id of a message is used again
// that clients may have seen.
func (r *carer) skipIDs(ctx context.Context) error {
	if r.deps.Restored == "" {
		return nil
	}
	if _, err := os.Lstat(r.deps.Restored); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	var groups []mediator.ChatID
	for group, err := range r.deps.Store.MediatorGroups() {
		if err != nil {
			return err
		}
		groups = append(groups, group.ID)
	}
	for batch := range slices.Chunk(groups, careBatch) {
		if _, err := store.Do[bool](ctx, r.deps.Writer, store.SkipMediatorIDs{Groups: batch, By: skippedIDs}); err != nil {
			return err
		}
	}
	r.deps.Log.Info("mediator continues from a backup", "component", "mediator", "count", len(groups))
	return os.Remove(r.deps.Restored) // when that is lost, more ids are left out
}

// removeDeleted removes the members of deleted groups.
func (r *carer) removeDeleted(ctx context.Context) error {
	groups, err := r.deps.Store.MediatorDeleted()
	if err != nil {
		return err
	}
	for _, group := range groups {
		for {
			var users []identity.PublicKey
			for member, err := range r.deps.Store.MediatorMembers(group) {
				if err != nil {
					return err
				}
				if users = append(users, member.User); len(users) == careBatch {
					break
				}
			}
			if _, err := store.Do[bool](ctx, r.deps.Writer, store.SweepMediatorGroup{Group: group, Users: users}); err != nil {
				return err
			}
			if len(users) == 0 {
				break
			}
		}
	}
	return nil
}

// expire removes old invites, and messages that are older than Options.Keep.
func (r *carer) expire(ctx context.Context) error {
	now := r.deps.Now()
	before := now.Add(-inviteTime).Unix()
	for {
		ids, err := r.deps.Store.MediatorExpiredInvites(before, careBatch)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			break
		}
		if _, err := store.Do[int](ctx, r.deps.Writer, store.ExpireMediatorInvites{Before: before, IDs: ids}); err != nil {
			return err
		}
	}
	if r.opts.Keep <= 0 {
		return nil
	}
	for group, err := range r.deps.Store.MediatorGroups() {
		if err != nil {
			return err
		}
		if err := r.expireMessages(ctx, group.ID, store.MillisOf(now.Add(-r.opts.Keep))); err != nil {
			return err
		}
	}
	return nil
}

func (r *carer) expireMessages(ctx context.Context, group mediator.ChatID, before store.Millis) error {
	for {
		ids, err := r.deps.Store.MediatorExpired(group, before, careBatch)
		if err != nil || len(ids) == 0 {
			return err
		}
		op := store.ExpireMediatorMessages{Mediator: identity.PublicKey(r.deps.Key.Key()), Group: group, IDs: ids}
		if _, err := store.Do[int](ctx, r.deps.Writer, op); err != nil {
			return err
		}
	}
}
