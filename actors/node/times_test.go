// SPDX-License-Identifier: MPL-2.0

package node_test

import (
	"math"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/actorstest"
	"github.com/mimird/mimird/actors/overlay/memnet"
	"github.com/mimird/mimird/test/phone"
	"github.com/mimird/mimird/test/virtual"
)

// Bar R13: a message with an impossible date gets that of its receipt. A repetition
// with the same impossible date, in another session, is shown once; so is one without
// a guid, which is recognised by its date.
func TestMessage_ImpossibleDate_ShownOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := meet(t, actorstest.New(t, memnet.Options{}), phone.Quirks{})
		begun := time.Now().UnixMilli()
		var want []string
		for text, at := range map[string]int64{
			"one": 1, "negative": -5, "2100": 4_102_444_800_000, "year 10000": 253_402_300_800_000,
			"largest": math.MaxInt64, "smallest": math.MinInt64,
		} {
			want = append(want, text)
			m := phone.Message{GUID: phone.GUID(len(want)), SendTime: at, Payload: []byte(text)}
			for range 2 {
				k.p.Post(k.key, m)
				k.p.Eventually(t, 10*time.Minute, "an OK", func() bool { return len(k.p.Waiting(k.key)) == 0 })
				k.p.Session(k.key).Close()
				virtual.Sleep(time.Minute)
			}
		}
		k.p.SetQuirks(phone.Quirks{NoGUID: true})
		k.p.Post(k.key, phone.Message{SendTime: 253_402_300_800_001, Payload: []byte("nameless")})
		virtual.Sleep(40 * time.Minute) // several sessions, each with a repetition
		want = append(want, "nameless")
		if texts := k.n.HeardFrom(k.p.Key()); !slices.Equal(texts, want) {
			t.Errorf("the node has %s, want %s", actorstest.Brief(texts), actorstest.Brief(want))
		}
		for _, m := range k.n.Stored(k.p.Key()) {
			if at := int64(m.SendTime); at < begun || at > time.Now().UnixMilli() || m.SendTime != m.Created {
				t.Errorf("%q is dated %d, received %d", m.Payload, at, m.Created)
			}
		}
	})
}
