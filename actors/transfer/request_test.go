// SPDX-License-Identifier: MPL-2.0

package transfer

import (
	"errors"
	"testing"
	"testing/synctest"
)

// A session that brings a file is not left waiting by a transfer that ends without an
// answer, and gets the answer when there is one.
func TestFileRequest_TransferEnds_SessionGoesOn(t *testing.T) {
	for name, answer := range map[string]error{"no answer": nil, "an answer": errNotTheFile} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &fileRequest{came: make(chan arrivedFile), over: make(chan struct{})}
				ended := make(chan error, 1)
				go func() { ended <- r.finish(nil, nil) }()
				file := <-r.came
				want := errNoAnswer
				if answer != nil {
					file.answer <- answer
					want = answer
				}
				close(r.over)
				if err := <-ended; !errors.Is(err, want) {
					t.Errorf("ended with %v", err)
				}
			})
		})
	}
}
