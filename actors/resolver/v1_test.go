// SPDX-License-Identifier: MPL-2.0

package resolver

import (
	"errors"
	"testing"
	"time"

	"github.com/mimird/mimird/proto/identity"
)

func TestParseTrackerV1(t *testing.T) {
	for s, ok := range map[string]bool{
		"[208:62:45:62:59b8:f1a2:62ca:f87c]:5050":                          true,
		"e1436b91fbcbbfe694177da47103b4e370658ba2db31e7879a8d613a447c9302": true,
		"[2001:db8::1]:5050": false,
		"127.0.0.1:5050":     false,
		"":                   false,
	} {
		got, err := ParseTrackerV1(s)
		if ok != (err == nil) || ok && got.String() != s {
			t.Errorf("%q: %v, error %v", s, got, err)
		}
	}
}

func TestTrackersV1_StatusOfEach(t *testing.T) {
	first, second := TrackerV1{Node: identity.NodeKey{1}}, TrackerV1{Node: identity.NodeKey{2}}
	trackers, failed := NewTrackersV1([]TrackerV1{first, second}), errors.New("unreachable")
	trackers.note(second, nil)
	trackers.note(second, failed)
	trackers.note(TrackerV1{}, failed)
	got := trackers.Status()
	if len(got) != 2 || got[0] != (TrackerV1Status{Tracker: first}) {
		t.Fatalf("%+v, want nothing of the first", got)
	}
	if s := got[1]; s.Tracker != second || s.LastAnswer.IsZero() || time.Since(s.LastAnswer) > time.Hour || !errors.Is(s.Err, failed) {
		t.Errorf("%+v, want an answer and then a failure", s)
	}
}
