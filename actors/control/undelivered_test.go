// SPDX-License-Identifier: MPL-2.0

package control

import (
	"testing"
	"time"

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
