// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"errors"
	"fmt"
	"runtime/debug"
)

var (
	// ErrStopped says that the actor has ended for good, or is about to.
	ErrStopped = errors.New("actor stopped")
	// ErrNameTaken says that a sibling of that name exists, perhaps one that is
	// still closing. The name is free when ChildStopped has arrived.
	ErrNameTaken = errors.New("actor name is taken")
	// ErrRestartStorm ends an actor that was restarted too often in a short time.
	ErrRestartStorm = errors.New("restarted too often")
	// ErrFailed is what Ask returns when the actor failed before it had answered.
	ErrFailed = errors.New("actor failed")

	// ErrNoAnswer says that a question of an actor was not answered in time.
	ErrNoAnswer = errors.New("no answer in time")

	errGoexit   = errors.New("runtime.Goexit was called")
	errNoReason = errors.New("failed without a reason")
	errNilActor = errors.New("no actor from New")
)

// Fatal marks err: an actor that fails with it, however deep it is wrapped, is
// stopped and not restarted. Its parent gets ChildStopped with the error.
// Fatal(nil) is nil.
func Fatal(err error) error {
	if err == nil {
		return nil
	}
	return &fatalError{err}
}

type fatalError struct{ err error }

func (e *fatalError) Error() string { return e.err.Error() }
func (e *fatalError) Unwrap() error { return e.err }

func isFatal(err error) bool {
	var fatal *fatalError
	return errors.As(err, &fatal)
}

// PanicError is a panic, or a call of runtime.Goexit, as an error.
type PanicError struct {
	Value any    // what was passed to panic
	Stack []byte // the stack at that point
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Unwrap returns the panic's value when it was an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// failure is what Context.Fail panics with: an error on purpose, no stack needed.
type failure struct{ err error }

// recovered makes an error of what recover returned after user code did not
// return. It is called by the deferred function itself, so that the stack still
// shows where it happened. No value means Goexit: since Go 1.21 a panic always
// has one.
func recovered(value any) error {
	switch v := value.(type) {
	case nil:
		return &PanicError{Value: errGoexit, Stack: debug.Stack()}
	case failure:
		return v.err
	default:
		return &PanicError{Value: v, Stack: debug.Stack()}
	}
}

// Protect runs a function and turns a panic in it into its error, a *[PanicError]. It is
// for goroutines that a task of an actor starts for one connection, request or file:
// outside of an actor and its tasks nothing else keeps a panic from ending the process.
func Protect(run func() error) (err error) {
	done := false
	defer func() {
		if !done {
			err = recovered(recover())
		}
	}()
	err = run()
	done = true
	return err
}
