// SPDX-License-Identifier: MPL-2.0

// Package unixsocket listens on unix sockets: the control API's, and the bridge's for its
// homeserver. It imports the standard library only.
package unixsocket

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
)

// ErrNotASocket says that the path is that of a file. A path in the configuration may be
// wrong, so nothing but a socket is removed.
var ErrNotASocket = errors.New("not a socket")

// Listen listens on a socket. It replaces a socket that a process left when it ended.
//
// Errors: [ErrNotASocket], and those of listening; a path has at most about 100
// characters.
func Listen(ctx context.Context, path string) (*net.UnixListener, error) {
	if err := removeStale(path); err != nil {
		return nil, err
	}
	opened, err := new(net.ListenConfig).Listen(ctx, "unix", path)
	if err != nil {
		return nil, err
	}
	listener, ok := opened.(*net.UnixListener)
	if !ok {
		return nil, errors.Join(fmt.Errorf("listen on %s: got a %T", path, opened), opened.Close())
	}
	return listener, nil
}

func removeStale(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return fmt.Errorf("%s: %w", path, ErrNotASocket)
	}
	return os.Remove(path)
}
