// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"errors"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/test/crash"
)

const (
	// nearlyFull is less than the reserve.
	nearlyFull = 1 << 20
	// exitDiskFull is the exit code for a full disk, diskAdvice what is said then.
	exitDiskFull = 4
	diskAdvice   = "make space and start again, nothing is lost"
	refused      = "not enough free disk space"
	// nobody is a contact who never comes: a key of RFC 8032.
	nobody = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
	// largeText is written to a full disk for as long as the store believes that it
	// has room, which it measures every second. floods is how often that is tried.
	largeText  = 512 << 10
	largeTexts = 60
	floods     = 60
)

// diskFills does everything that a disk does to a node.
func (w *world) diskFills() {
	w.t.Helper()
	w.note = "small disk: "
	end := w.load(directions...)
	for _, d := range directions {
		w.progress(d, window)
	}
	end()
	w.settle()
	w.nothingAcceptedBelowReserve()
	w.nothingIsWrong()

	w.must(w.victim.Stop())
	w.must(w.disk.fill(0))
	w.must(w.victim.Launch())
	w.endsForDisk()
	w.must(w.disk.clear())
	w.must(w.victim.Start(w.soon()))
	w.nothingIsWrong()

	accepted := w.flood()
	w.must(w.victim.Start(w.soon()))
	w.kept = w.nothingLostFor(nobody, accepted)
	w.check(directions...)
}

// nothingIsWrong waits until everything has arrived, and checks that.
func (w *world) nothingIsWrong() {
	w.t.Helper()
	w.say(1, directions...)
	w.settle()
	if outcome := w.verdict(directions...); !outcome.OK() {
		w.t.Errorf("%s%s", w.note, outcome)
	}
}

// nothingAcceptedBelowReserve fills the disk and frees it again. What is written
// meanwhile waits where it was written.
func (w *world) nothingAcceptedBelowReserve() {
	w.t.Helper()
	const texts = 3
	w.must(w.disk.fill(nearlyFull))
	w.awaitDiskLow(true)
	ended := w.phone.Page(w.phone.victim).Ended
	w.say(texts, directions...)
	// Each has been refused, and the node lives.
	w.await("the phone is refused", func() bool { return w.phone.Page(w.phone.victim).Ended >= ended+2 })
	w.await("the homeserver is refused", func() bool {
		log, err := endOf(filepath.Join(w.dir, "log"))
		return err == nil && strings.Contains(string(log), "transaction not stored, refused")
	})
	if _, err := w.victim.Client.Send(w.soon(), "-", w.talks[0].key(), control.Text{Text: "x"}); err == nil || !strings.Contains(err.Error(), refused) {
		w.t.Errorf("%sa command that writes is answered: %v", w.note, err)
	}
	for _, c := range w.talks {
		if n, err := c.waiting(w.t.Context()); n != texts || err != nil {
			w.t.Errorf("%s%d of %d texts of %s wait (%v)", w.note, n, texts, c.name(), err)
		}
		for _, d := range directions {
			if n := c.underWay(d); n != texts {
				w.t.Errorf("%s%d of %d texts are under way, %s, %s", w.note, n, texts, c.name(), d)
			}
		}
	}
	w.awaitDiskLow(true) // it has said so all the time
	w.must(w.disk.clear())
	w.awaitDiskLow(false)
}

// flood fills the disk to the last byte and writes on, faster than the store looks
// how much room there is, until the node has ended. It returns the texts that were
// accepted.
func (w *world) flood() (accepted []string) {
	w.t.Helper()
	_, err := w.victim.Client.AddContact(w.soon(), "-", nobody)
	w.must(err)
	for range floods {
		w.must(w.disk.fill(0))
		for range largeTexts {
			text := strings.Repeat(string(rune('a'+len(accepted)%26)), largeText) + "-" + string(rune('a'+len(accepted)/26))
			_, err = w.victim.Client.Send(w.soon(), "-", nobody, control.Text{Text: text})
			if err != nil {
				break
			}
			accepted = append(accepted, text)
		}
		if err != nil && !strings.Contains(err.Error(), refused) {
			w.endsForDisk()
			w.must(w.disk.clear())
			return accepted
		}
		w.must(w.disk.clear())
		if !w.diskLowOver() {
			w.endsForDisk()
			return accepted
		}
	}
	w.t.Fatalf("%sthe node takes %d large texts on a full disk", w.note, len(accepted))
	return nil
}

// nothingLostFor compares what was accepted for a contact with what the node has.
func (w *world) nothingLostFor(contact string, accepted []string) (have int) {
	w.t.Helper()
	texts := w.textsWith(contact)
	// The last one may have been stored without an answer.
	if len(texts) == len(accepted)+1 {
		accepted = append(accepted, texts[len(accepted)])
	}
	if d := crash.Compare(accepted, texts); !d.OK() {
		w.t.Errorf("%slost %d of %d that were accepted by a full disk, %d more", w.note, len(d.Lost), len(accepted), len(d.Unknown))
	}
	return len(texts)
}

// endsForDisk waits until the node has ended because of the disk.
func (w *world) endsForDisk() {
	w.t.Helper()
	ended := w.victim.Process().Ended()
	w.await("the node ends", func() bool {
		select {
		case <-ended:
			return true
		default:
			return false
		}
	})
	w.victim.Client.Close()
	var exit *exec.ExitError
	if err := w.victim.Process().Err(); !errors.As(err, &exit) || exit.ExitCode() != exitDiskFull {
		w.t.Errorf("%sthe node has ended with %v", w.note, err)
	}
	log, err := endOf(filepath.Join(w.dir, "log"))
	w.must(err)
	last := strings.TrimSpace(string(log))
	last = last[strings.LastIndexByte(last, '\n')+1:]
	if !strings.HasPrefix(last, "mimird: ") || !strings.Contains(last, syscall.ENOSPC.Error()) || !strings.HasSuffix(last, diskAdvice) {
		w.t.Errorf("%sits last words are %q", w.note, last)
	}
}

// awaitDiskLow waits until the status says, or does not say, that the disk is full.
func (w *world) awaitDiskLow(low bool) {
	w.t.Helper()
	w.await("the status speaks of the disk", func() bool {
		status, err := w.victim.Client.Status(w.soon())
		w.must(err)
		warned := slices.ContainsFunc(status.Warnings, func(warning control.Warning) bool { return warning.Code == "disk_low" })
		return status.DiskLow == low && warned == low
	})
}

// diskLowOver waits until the status does not say any more that the disk is full. False says
// that the node ends instead: it could not write something of its own meanwhile.
func (w *world) diskLowOver() (over bool) {
	w.t.Helper()
	w.await("the disk has space again or the node ends", func() bool {
		status, err := w.victim.Client.Status(w.soon())
		over = err == nil && !status.DiskLow
		return over || err != nil
	})
	return over
}

// await waits for a condition.
func (w *world) await(what string, condition func() bool) {
	w.t.Helper()
	if !poll(nil, condition) {
		w.t.Fatalf("%sin vain: %s", w.note, what)
	}
}
