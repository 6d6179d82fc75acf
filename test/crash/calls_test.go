// SPDX-License-Identifier: MPL-2.0

package crash_test

import (
	"bytes"
	"fmt"
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

// dieCalling: the phone speaks to the answering machine. What it has said until then is a
// voice message, once.
func (w *filesWorld) dieCalling() {
	w.t.Helper()
	greeting := aac.Audio{Config: aac.Call(), Units: [][]byte{{0, 1}, {0, 2}}}
	_, err := w.victim.Client.ChangeAccount(w.soon(), "-", control.AccountChange{Greeting: greeting.AppendADTS(nil)})
	w.must(err)
	var said [][]byte
	for i := range 30 * second {
		said = append(said, fmt.Appendf(nil, "\x01unit %d", i))
	}
	w.dieDoing(func() {
		call, err := w.phone.Call(w.soon(), w.key)
		w.must(err)
		w.must(call.Await(w.soon()))
		w.must(call.Send(phone.CallConfig()))
		w.eventually("the greeting", func() bool { return len(call.Heard()) == 1+len(greeting.Units) })
		if w.point == crashpoint.DuringCall {
			_ = call.Say(said...) // until the node is gone
			return
		}
		w.must(call.Say(said[:4*second]...))
		w.must(call.HangUp())
	})
	var found []control.File
	w.eventually("the voice message", func() bool {
		found, err = w.victim.Client.Files(w.soon(), "-", w.phone.key())
		return err == nil && len(found) > 0 && found[0].State == "stored"
	})
	var file bytes.Buffer
	w.must(w.victim.Client.ReadFile(w.soon(), "-", w.phone.key(), found[0].Message, &file))
	units, err := phone.VoiceUnits(file.Bytes())
	w.must(err)
	from := slices.IndexFunc(said, func(u []byte) bool { return len(units) > 0 && bytes.Equal(u, units[0]) })
	if len(found) != 1 || !found[0].Voice || len(units) < second || from < 0 || !slices.EqualFunc(units, said[from:from+len(units)], bytes.Equal) {
		w.t.Errorf("%s%d voice messages, the first of %d units from %d on", w.note, len(found), len(units), from)
	}
	w.must(w.victim.Stop())
	w.must(w.victim.Start(w.soon()))
	if found, err = w.victim.Client.Files(w.soon(), "-", w.phone.key()); err != nil || len(found) != 1 {
		w.t.Errorf("%s%d voice messages after another start, %v", w.note, len(found), err)
	}
}
