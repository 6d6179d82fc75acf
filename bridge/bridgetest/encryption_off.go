// SPDX-License-Identifier: MPL-2.0

//go:build !goolm

package bridgetest

import (
	"context"
	"errors"

	"maunium.net/go/mautrix"
	"maunium.net/go/mautrix/event"
)

// Device is none: this program has no encryption in it.
type Device struct{}

func newDevice(context.Context, *mautrix.Client) (*Device, error) {
	return nil, errors.New("this program has no encryption in it: build it with the tag goolm")
}

// What follows is never called: there is no device.

func (*Device) receive(context.Context, *mautrix.RespSync, string) []*event.Event { return nil }
func (*Device) note(context.Context, *event.Event)                                {}
func (*Device) keep(*event.Event)                                                 {}
func (*Device) open(_ context.Context, evt *event.Event) *event.Event             { return evt }
