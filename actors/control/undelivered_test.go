// SPDX-License-Identifier: MPL-2.0

package control

import (
	"testing"
	"time"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/actors/transfer"
)

// TestUndelivered_UploadThatFails_IsSaid holds that a file which no server takes does not
// look like one that is on its way.
func TestUndelivered_UploadThatFails_IsSaid(t *testing.T) {
	t.Parallel()
	next := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		info transfer.Info
		want Undelivered
	}{
		"runs":       {transfer.Info{}, Undelivered{Code: "uploading", Why: "the file is being uploaded"}},
		"runs again": {transfer.Info{Reason: "dial file server", Done: 1}, Undelivered{Code: "uploading", Why: "the file is being uploaded"}},
		"retries":    {transfer.Info{Reason: "dial file server", Next: next}, Undelivered{Code: "upload_failed", Why: "the file is not uploaded yet: dial file server", NextAttempt: next}},
	} {
		var got Undelivered
		if got.whyNotUploaded(c.info); got != c.want {
			t.Errorf("%s: %+v, want %+v", name, got, c.want)
		}
	}
}

// TestUndelivered_Request_IsSaidWhileConnected holds that a contact who has not answered a
// request, or declined it, does not look like one who is about to acknowledge.
func TestUndelivered_Request_IsSaidWhileConnected(t *testing.T) {
	t.Parallel()
	type presence struct {
		online    bool
		lastError string
	}
	for name, c := range map[string]struct {
		asked store.AskState
		with  presence
		code  string
		why   string
	}{
		"connected":               {store.AskNone, presence{online: true}, "connected", "they are connected and have not acknowledged it yet"},
		"accepted, connected":     {store.AskAccepted, presence{online: true}, "connected", "they are connected and have not acknowledged it yet"},
		"unanswered, connected":   {store.AskSent, presence{online: true}, "request_unanswered", "they are connected and have not answered your request"},
		"unanswered":              {store.AskSent, presence{}, "request_unanswered", "they have not answered your request"},
		"unanswered, not reached": {store.AskSent, presence{lastError: "no answer"}, "not_reached", "no answer; they have not answered your request either"},
		"declined, connected":     {store.AskDeclined, presence{online: true}, "request_declined", "they declined your request, and take nothing until they add you"},
		"declined":                {store.AskDeclined, presence{lastError: "no answer"}, "request_declined", "they declined your request, and take nothing until they add you"},
	} {
		var got Undelivered
		if got.whyNotReached(store.Contact{Asked: c.asked}, c.with.online, c.with.lastError, true, transfer.Info{}); got.Code != c.code || got.Why != c.why {
			t.Errorf("%s: %s, %q, want %s, %q", name, got.Code, got.Why, c.code, c.why)
		}
	}
}
