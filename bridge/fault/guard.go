// SPDX-License-Identifier: MPL-2.0

package fault

import (
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
)

// ErrPanic is the cause of the errors that [Guard] makes of panics.
var ErrPanic = errors.New("panic")

// Guard runs a part of the bridge in a goroutine that the kernel does not supervise, and
// turns a panic into an error that is [ErrPanic]: a bug in the bridge must not end the
// node. The panic is logged with its stack.
func Guard(log *slog.Logger, part string, run func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			log.Error("part of the bridge panicked", "component", part, "text", fmt.Sprint(value), "stack", string(debug.Stack()))
			err = fmt.Errorf("%s: %w", part, ErrPanic)
		}
	}()
	return run()
}
