// SPDX-License-Identifier: MPL-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/mimird/mimird/test/poll"
)

// receivePhones write receiveTexts each, at once.
const (
	receivePhones = 8
	receiveTexts  = 250
)

// measureReceive compares the processor time of a text, from a phone over Yggdrasil to a
// node that has it on the disk, with what the store alone needs for it. Both ends and
// the network are in this process.
func measureReceive(ctx context.Context) (_ result, err error) {
	rig, err := newNodeRig(ctx)
	if err != nil {
		return result{}, err
	}
	defer func() { err = errors.Join(err, rig.close()) }()
	var talkers []*talker
	defer func() {
		for _, t := range talkers {
			err = errors.Join(err, t.close())
		}
	}()
	for range receivePhones {
		t, err := rig.newTalker(ctx, rig.account)
		if err != nil {
			return result{}, err
		}
		talkers = append(talkers, t)
	}
	const texts = receivePhones * receiveTexts
	before, err := rig.node.LastEvent(rig.account)
	if err != nil {
		return result{}, err
	}
	whole, err := processorTime(func() error {
		for i := range receiveTexts {
			for _, t := range talkers {
				t.phone.Write(t.owner, fmt.Sprintf("text %d", i))
			}
		}
		ctx, cancel := context.WithTimeout(ctx, matrixPatience)
		defer cancel()
		var last uint64
		arrived := poll.Until(ctx, func() bool {
			last, err = rig.node.LastEvent(rig.account)
			return err != nil || last >= before+texts
		})
		if err == nil && !arrived {
			err = fmt.Errorf("%d of %d texts have arrived: %w", last-before, texts, ctx.Err())
		}
		return err
	})
	if err != nil {
		return result{}, err
	}
	bare, err := measureBareAccept(ctx, texts)
	if err != nil {
		return result{}, err
	}
	return result{
		ratio:    bare.Seconds() / whole.Seconds(),
		baseline: "the processor time of the store alone",
		detail: fmt.Sprintf("%.0f us of processor time for a text from %d phones, both ends and the network; the store needs %.0f us",
			whole.Seconds()*1e6/texts, receivePhones, bare.Seconds()*1e6/texts),
	}, nil
}

// measureBareAccept stores as many messages.
func measureBareAccept(ctx context.Context, texts int) (took time.Duration, err error) {
	dir, err := storeDir()
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	rig, err := newStoreRig(filepath.Join(dir, "store"), receivePhones)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rig.close()) }()
	return processorTime(func() error { return rig.accept(ctx, texts/receivePhones) })
}

// processorTime returns what this process uses while f runs, in user and kernel mode.
func processorTime(f func() error) (time.Duration, error) {
	used := func() (time.Duration, error) {
		var usage unix.Rusage
		err := unix.Getrusage(unix.RUSAGE_SELF, &usage)
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano()), err
	}
	before, err := used()
	if err != nil {
		return 0, err
	}
	if err := f(); err != nil {
		return 0, err
	}
	after, err := used()
	return after - before, err
}
