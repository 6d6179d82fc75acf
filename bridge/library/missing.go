// SPDX-License-Identifier: MPL-2.0

//go:build cgo && !goolm && !nocrypto

package library

import (
	"log/slog"

	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
)

// New returns [ErrNoMatrix]: with cgo and without a tag, bridgev2's Matrix connector needs
// a C library for its encryption.
func New(*bridgeconfig.Config, bool, *slog.Logger) (Matrix, *StatusSender, error) {
	return nil, nil, ErrNoMatrix
}
