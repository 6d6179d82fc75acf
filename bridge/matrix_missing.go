// SPDX-License-Identifier: MPL-2.0

//go:build cgo && !goolm && !nocrypto

package bridge

import (
	"log/slog"

	"maunium.net/go/mautrix/bridgev2/bridgeconfig"
)

// newMatrixConnector fails: with a C compiler, bridgev2's Matrix connector wants a
// library in C for its encryption, unless it is told to use the one in Go.
func newMatrixConnector(*bridgeconfig.Config, bool, *slog.Logger) (matrixConnector, *statusSender, error) {
	return nil, nil, ErrNoMatrix
}
