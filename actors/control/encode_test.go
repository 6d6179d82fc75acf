// SPDX-License-Identifier: MPL-2.0

package control

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
	"time"
)

// An event that cannot be encoded ends no follower: it is passed over, counted and
// logged.
func TestFollow_UnencodableEventIsCounted(t *testing.T) {
	var log bytes.Buffer
	s := &service{log: slog.New(slog.NewTextHandler(&log, nil))}
	if !s.encodable(Event{Seq: 1, Time: time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)}) {
		t.Error("an ordinary event is passed over")
	}
	if s.encodable(Event{Seq: 2, Message: &Message{Sent: time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)}}) {
		t.Error("JSON has no such time")
	}
	if n := s.unencodable.Load(); n != 1 || !strings.Contains(log.String(), "event=2") {
		t.Errorf("counted %d, logged %q", n, log.String())
	}
}
