// SPDX-License-Identifier: MPL-2.0

package client_test

import (
	"context"
	"errors"
	"fmt"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/control/client"
)

// A bot that sends back what contacts write. The source makes it safe to repeat.
func Example() {
	ctx := context.Background()
	node := client.New("mimird-data/control.sock")
	defer node.Close()
	err := node.Follow(ctx, "-", -1, func(e control.Event) error {
		if e.Kind != "message_received" || e.Message == nil || e.Contact == "" {
			return nil
		}
		_, err := node.Send(ctx, "-", e.Contact, control.Text{Text: "echo: " + e.Message.Text, Source: "echo " + e.Message.ID})
		return err
	})
	if errors.Is(err, client.ErrNotRunning) {
		fmt.Println("the node is not running")
	}
	// Output: the node is not running
}
