// SPDX-License-Identifier: MPL-2.0

package process

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
)

// The ports of FreeAddress are below those that operating systems give to connections
// and to listeners that name no port, so that none of these gets one between the moment
// when it is found and the moment when it is used.
const (
	firstPort, ports = 20_000, 12_000
	portTries        = 20
)

// FreeAddress returns a loopback address with a port that nobody listens on, for a
// listener that must be named before it exists, such as in a registration.
func FreeAddress(ctx context.Context) (string, error) {
	var last error
	for range portTries {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(firstPort+rand.N(ports)))
		listener, err := new(net.ListenConfig).Listen(ctx, "tcp", address)
		if err == nil {
			err = listener.Close()
		}
		if err == nil {
			return address, nil
		}
		last = errors.Join(err, ctx.Err())
	}
	return "", fmt.Errorf("find a free port: %w", last)
}
