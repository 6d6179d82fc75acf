// SPDX-License-Identifier: MPL-2.0

package actors

import "errors"

var (
	// ErrNotFound says that no tracker knows where an identity is.
	ErrNotFound = errors.New("no tracker knows the identity")
	// ErrTrackersSilent says that no tracker answered.
	ErrTrackersSilent = errors.New("no tracker answers")
	errNoTrackers     = errors.New("no trackers are configured")
	errBusy           = errors.New("too many questions at once")
)
