// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// errPanic is what becomes of a panic in a goroutine that the kernel does not
// watch.
var errPanic = errors.New("panic")

// guarded runs a part of the bridge and makes a panic its error: a bug in the
// bridge must not end the node.
func guarded(log *slog.Logger, what string, run func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			log.Error("a part of the bridge has panicked", "part", what, "value", fmt.Sprint(value), "stack", string(debug.Stack()))
			err = fmt.Errorf("%s: %w", what, errPanic)
		}
	}()
	return run()
}
