// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"errors"

	"github.com/mimird/mimird/actors/kernel"
)

// protect runs the part of a task that serves one connection or asks one server. A
// panic in it is logged and returned as an error: it ends what it happened in, and
// neither the others nor the process. Strangers can reach most of this code.
func (e *env) protect(what string, run func() error) error {
	err := kernel.Protect(run)
	if p, ok := errors.AsType[*kernel.PanicError](err); ok {
		e.strangerLog.Warn("panic while serving a connection", "part", what, "err", p, "stack", string(p.Stack))
	}
	return err
}
