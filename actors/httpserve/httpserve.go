// SPDX-License-Identifier: MPL-2.0

// Package httpserve runs an HTTP server as the task of an actor. The page and the metrics
// call it.
package httpserve

import (
	"context"
	"errors"
	"net"
	"net/http"
	"time"
)

// drainTime is how long requests may go on after the end of the actor.
const drainTime = time.Second

// Run serves until the end of ctx, then lets requests finish for a short time and closes
// the connections of those that do not. It returns when the server has ended: nil after
// ctx, else why the server failed. It closes the listener. It blocks, so an actor calls it
// in a goroutine ([kernel.Context.Go]).
func Run(ctx context.Context, server *http.Server, listener net.Listener) error {
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
	defer cancel()
	err := server.Shutdown(drain)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	<-ended
	return err
}
