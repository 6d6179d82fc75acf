// SPDX-License-Identifier: MPL-2.0

package update

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"aead.dev/minisign"

	"github.com/mimird/mimird/actors/durable"
)

// Errors of a check.
var (
	// ErrUnreachable means that there is no list: no network, or a server that does not give it.
	ErrUnreachable = errors.New("the release list could not be fetched")
	// ErrRejected means that there is a list that must not be believed, or cannot be read.
	ErrRejected = errors.New("the release list was rejected")
)

const (
	// stateFile keeps in the data directory which list was seen last.
	stateFile = "update.json"
	maxState  = 4 << 10
	// maxAhead is how far the date of a list may be in the future.
	maxAhead = 48 * time.Hour
)

// Options are those of a check.
type Options struct {
	URL     string // of the list
	Key     string // the public key of minisign, its line in base64
	Current string // the version of this program, without v
	Dir     string // the data directory
	// Timeout bounds the whole check, 0 for DefaultTimeout.
	Timeout time.Duration
}

// Answer is what a check finds.
type Answer struct {
	Current  string    `json:"current" doc:"Version of this program"`
	Release  bool      `json:"release" doc:"This program is a release, not a build of a commit"`
	Latest   string    `json:"latest" doc:"The newest release"`
	Newer    bool      `json:"newer" doc:"The newest release is newer than this program"`
	Security bool      `json:"security" doc:"A release after this program mends something that others can attack"`
	URL      string    `json:"url" doc:"Page of the newest release"`
	Issued   time.Time `json:"issued" doc:"When the list was written"`
	Kept     bool      `json:"kept" doc:"The date of the list is kept in the data directory, so that an older list is noticed"`
}

// seen is the state file.
type seen struct {
	Issued time.Time `json:"issued"`
}

// Check fetches the list and compares it with this program. It waits for the network, for
// Options.Timeout at most. Its errors are ErrUnreachable, ErrRejected, and others about the
// options and the data directory. Any goroutine may call it.
func Check(ctx context.Context, o Options) (Answer, error) {
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	var key minisign.PublicKey
	if err := key.UnmarshalText([]byte(o.Key)); err != nil {
		return Answer{}, fmt.Errorf("read the key of release lists: %w", err)
	}
	last, kept, err := readState(o.Dir)
	if err != nil {
		return Answer{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	raw, err := fetchSigned(ctx, o.URL, key)
	if err != nil {
		return Answer{}, err
	}
	list, err := ParseList(raw)
	if err != nil {
		return Answer{}, fmt.Errorf("%w: its signature is right, but %w", ErrRejected, err)
	}
	if err := plausible(list, last, o.Current); err != nil {
		return Answer{}, err
	}
	a := compareWith(list, o.Current)
	if kept && !list.Issued.Equal(last.Issued) {
		state, err := json.Marshal(seen{list.Issued})
		if err == nil {
			err = durable.Replace(filepath.Join(o.Dir, stateFile), state)
		}
		if err != nil {
			return Answer{}, fmt.Errorf("keep the date of the release list: %w", err)
		}
	}
	a.Kept = kept
	return a, nil
}

// fetchSigned fetches the list and verifies its signature. The two are fetched a second time
// when they do not belong together: a new list may have been published in between.
func fetchSigned(ctx context.Context, url string, key minisign.PublicKey) ([]byte, error) {
	client, done := newClient()
	defer done()
	for range 2 {
		raw, err := fetch(ctx, client, url, maxList)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		signature, err := fetch(ctx, client, url+".minisig", maxSignature)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrUnreachable, err)
		}
		if minisign.Verify(key, raw, signature) {
			return raw, nil
		}
	}
	return nil, fmt.Errorf("%w: its signature is wrong, so it may be forged", ErrRejected)
}

// plausible reports why a list with a right signature is not believed.
func plausible(list List, last seen, current string) error {
	date := func(t time.Time) string { return t.UTC().Format(time.DateTime) + " UTC" }
	if time.Until(list.Issued) > maxAhead {
		return fmt.Errorf("%w: it is of %s, which is in the future; the clock of this machine may be wrong", ErrRejected, date(list.Issued))
	}
	if list.Issued.Before(last.Issued) {
		return fmt.Errorf("%w: it is of %s, older than the one of %s that was seen before", ErrRejected, date(list.Issued), date(last.Issued))
	}
	if newest := list.newest(current); IsRelease(current) && !list.has(current) && (newest.Version == "" || compare(newest.Version, current) < 0) {
		return fmt.Errorf("%w: it is of %s and does not name version %s, which this is: the list is older, or the version was withdrawn", ErrRejected, date(list.Issued), current)
	}
	return nil
}

func compareWith(list List, current string) Answer {
	newest := list.newest(current)
	a := Answer{Current: current, Release: IsRelease(current), Latest: newest.Version, URL: newest.URL, Issued: list.Issued}
	if !a.Release {
		return a
	}
	a.Newer = newest.Version != "" && compare(newest.Version, current) > 0
	for _, r := range list.Releases {
		if r.Security && compare(r.Version, current) > 0 && compare(r.Version, newest.Version) <= 0 {
			a.Security = true
		}
	}
	return a
}

// readState reads which list was seen last. Without a data directory nothing is kept.
func readState(dir string) (last seen, kept bool, err error) {
	if _, err := os.Stat(dir); errors.Is(err, fs.ErrNotExist) {
		return seen{}, false, nil
	}
	path := filepath.Join(dir, stateFile)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return seen{}, true, nil
	}
	var raw []byte
	if err == nil && info.Size() <= maxState {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return seen{}, false, fmt.Errorf("read which release list was seen last: %w", err)
	}
	if err := json.Unmarshal(raw, &last); err != nil || last.Issued.IsZero() {
		return seen{}, false, fmt.Errorf("%s is damaged; without it an older release list is not noticed: remove it to go on", path)
	}
	return last, true, nil
}
