// SPDX-License-Identifier: MPL-2.0

//go:build cgo && !goolm && !nocrypto

package library

import (
	"log/slog"

	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
)

// New fails: with a C compiler, bridgev2's Matrix connector wants a
// library in C for its encryption, unless it is told to use the one in Go.
func New(*bridgeconfig.Config, bool, *slog.Logger) (Matrix, *StatusSender, error) {
	return nil, nil, ErrNoMatrix
}
