// SPDX-License-Identifier: MPL-2.0

package actors

import "errors"

// ErrOffline says that the overlay is not running at this moment.
var ErrOffline = errors.New("the overlay network is not running")
