// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// watchdogParts is into how many parts the time of the watchdog is divided: the node is
// asked once in each, and has one to answer.
const watchdogParts = 3

// tellManager tells a service manager that the node is ready, and then, for as long as
// the root of the supervision tree answers, that it is alive. Without a manager it does
// nothing. The returned function ends that and tells that the node stops.
func tellManager(ctx context.Context, log *slog.Logger, alive func(context.Context) error) (stopping func()) {
	sent, err := daemon.SdNotify(false, daemon.SdNotifyReady)
	if err != nil {
		log.Warn("service manager not told", "err", err)
	}
	if !sent {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		feed(ctx, log, alive)
	}()
	return func() {
		cancel()
		<-ended
		_, _ = daemon.SdNotify(false, daemon.SdNotifyStopping) // it stops, heard or not
	}
}

func feed(ctx context.Context, log *slog.Logger, alive func(context.Context) error) {
	limit, err := daemon.SdWatchdogEnabled(false)
	if err != nil || limit <= 0 {
		return
	}
	again := time.NewTicker(limit / watchdogParts)
	defer again.Stop()
	for {
		asked, cancel := context.WithTimeout(ctx, limit/watchdogParts)
		err := alive(asked)
		cancel()
		if err == nil {
			_, err = daemon.SdNotify(false, daemon.SdNotifyWatchdog)
		}
		if err != nil && ctx.Err() == nil {
			log.Warn("watchdog not fed", "err", err)
		}
		select {
		case <-again.C:
		case <-ctx.Done():
			return
		}
	}
}
