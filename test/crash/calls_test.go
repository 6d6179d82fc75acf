// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/mimird/mimird/actors/control"
	"github.com/mimird/mimird/actors/crashpoint"
	"github.com/mimird/mimird/proto/aac"
	"github.com/mimird/mimird/test/phone"
)

// callDeath is at which passing of a point the node dies.
type callDeath struct {
	point   crashpoint.Name
	passing int
}

// callCases are the points of a call. make test has the first, the package
// actors/answering what lies behind the others.
var callCases = []callDeath{{crashpoint.DuringCall, 2}, {crashpoint.BeforeCallMessage, 1}, {crashpoint.AfterCallMessage, 1}}

// Bar R03: killed while a contact speaks to the answering machine, or while what they said
// becomes a message: it is there after the restart, once.
func TestKilledDuringCall(t *testing.T) {
	t.Parallel()
	for i, death := range callCases {
		if i > 0 && !long() {
			continue
		}
		t.Run(string(death.point), func(t *testing.T) {
			t.Parallel()
			w := newFilesWorld(t, death.point, death.passing)
			w.dieCalling()
			w.tidy()
		})
	}
}

// second is about a second of audio, in units.
const second = 44

// unitSize is the size of the largest unit that is said, with what a recording adds.
const unitSize = 17

// dieCalling: the phone speaks to the answering machine, in as many calls as it takes: on a
// busy machine one may end early. What is on the disk then is a voice message, once.
func (w *filesWorld) dieCalling() {
	w.t.Helper()
	greeting := aac.Audio{Config: aac.Call(), Units: [][]byte{{0, 1}, {0, 2}}}
	_, err := w.victim.Client.ChangeAccount(w.soon(), "-", control.AccountChange{Greeting: greeting.AppendADTS(nil)})
	w.must(err)
	var said [][]byte
	recorded := 0
	w.dieDoing(func() {
		ended := w.victim.Process().Ended()
		if !poll(ended, func() bool {
			select {
			case <-ended:
				return true
			default:
				said = append(said, w.speak(len(said), 1+len(greeting.Units))...)
				return false
			}
		}) {
			return // died reports it
		}
		names, err := filepath.Glob(filepath.Join(w.victim.Dir, "calls", "*.call"))
		w.must(err)
		for _, name := range names {
			info, err := os.Stat(name)
			w.must(err)
			if info.Size() > (second+10)*unitSize {
				recorded++
			}
		}
	})
	var found []control.File
	w.eventually("the voice messages", func() bool {
		var err error
		found, err = w.victim.Client.Files(w.soon(), "-", w.phone.key())
		left, _ := filepath.Glob(filepath.Join(w.victim.Dir, "calls", "*"))
		return err == nil && len(found) >= recorded && len(left) == 0
	})
	seen := make(map[int]bool)
	for _, f := range found {
		var file bytes.Buffer
		w.must(w.victim.Client.ReadFile(w.soon(), "-", w.phone.key(), f.Message, &file))
		units, err := phone.VoiceUnits(file.Bytes())
		w.must(err)
		from := slices.IndexFunc(said, func(u []byte) bool { return len(units) > 0 && bytes.Equal(u, units[0]) })
		if !f.Voice || from < 0 || seen[from] || !slices.EqualFunc(units, said[from:min(from+len(units), len(said))], bytes.Equal) {
			w.t.Errorf("%sa voice message of %d units, from %d on", w.note, len(units), from)
		}
		seen[from] = true
	}
}

// speak calls the node, waits until it has heard so many packets, speaks, and hangs up. It
// returns what it has said, as the unit first and those behind it. An early end
// is not a failure.
func (w *filesWorld) speak(first, greeting int) [][]byte {
	var says [][]byte
	call, err := w.phone.Call(w.soon(), w.key)
	if err != nil || call.Await(w.soon()) != nil || call.Send(phone.CallConfig()) != nil {
		return nil
	}
	poll(w.victim.Process().Ended(), func() bool { return call.Over() || len(call.Heard()) >= greeting })
	units := 4 * second
	if w.point == crashpoint.DuringCall {
		units *= 4
	}
	for i := range units {
		says = append(says, fmt.Appendf(nil, "\x01unit %d", first+i))
	}
	_, _ = call.Say(says...), call.HangUp() // the node may be gone
	return says
}
