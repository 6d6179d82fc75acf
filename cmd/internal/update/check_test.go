// SPDX-License-Identifier: MPL-2.0

package update_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"aead.dev/minisign"

	"github.com/mimird/mimird/cmd/internal/update"
)

// signer signs lists with one key.
type signer struct {
	public  minisign.PublicKey
	private minisign.PrivateKey
}

func newSigner(t *testing.T) signer {
	t.Helper()
	public, private, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return signer{public, private}
}

func listOf(t *testing.T, issued time.Time, versions ...string) []byte {
	t.Helper()
	l := update.List{Product: update.Product, Issued: issued}
	for _, v := range versions {
		name, security := strings.CutPrefix(v, "!")
		l.Releases = append(l.Releases, update.Release{Version: name, Security: security, URL: "https://example.org/" + name})
	}
	raw, err := json.Marshal(l)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// day is a date in the past.
func day(n int) time.Time { return time.Date(2026, 1, n, 0, 0, 0, 0, time.UTC) }

// serve answers with these two files.
func serve(t *testing.T, list, signature []byte) string {
	t.Helper()
	return serveBy(t, func(w http.ResponseWriter, r *http.Request) {
		if strings.HasSuffix(r.URL.Path, ".minisig") {
			_, _ = w.Write(signature) // the test sees what is missing
			return
		}
		_, _ = w.Write(list)
	})
}

func serveBy(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL + "/releases.json"
}

func (s signer) check(t *testing.T, dir, url, current string) (update.Answer, error) {
	t.Helper()
	return update.Check(t.Context(), update.Options{URL: url, Key: s.public.String(), Current: current, Dir: dir})
}

func (s signer) serve(t *testing.T, list []byte) string {
	t.Helper()
	return serve(t, list, minisign.Sign(s.private, list))
}

func TestCheck_Answers(t *testing.T) {
	key := newSigner(t)
	for name, test := range map[string]struct {
		current  string
		releases []string
		want     update.Answer
	}{
		"newer":                  {"0.1.0", []string{"0.1.0", "0.2.0", "0.10.0"}, update.Answer{Latest: "0.10.0", Newer: true}},
		"same":                   {"0.2.0", []string{"0.1.0", "0.2.0"}, update.Answer{Latest: "0.2.0"}},
		"security before":        {"0.2.0", []string{"!0.2.0", "0.3.0"}, update.Answer{Latest: "0.3.0", Newer: true}},
		"security after":         {"0.2.0", []string{"!0.2.1", "0.3.0"}, update.Answer{Latest: "0.3.0", Newer: true, Security: true}},
		"preview":                {"0.2.0", []string{"0.2.0", "!0.3.0-rc.1"}, update.Answer{Latest: "0.2.0"}},
		"to a preview":           {"0.3.0-rc.1", []string{"0.2.0", "0.3.0-rc.2"}, update.Answer{Latest: "0.3.0-rc.2", Newer: true}},
		"from a preview":         {"0.3.0-rc.1", []string{"0.3.0"}, update.Answer{Latest: "0.3.0", Newer: true}},
		"a commit":               {"0.2.0-4-gabcdef0", []string{"0.2.0"}, update.Answer{Latest: "0.2.0"}},
		"no version":             {"", []string{"0.2.0"}, update.Answer{Latest: "0.2.0"}},
		"withdrawn, a newer one": {"0.2.0", []string{"0.1.0", "0.2.1"}, update.Answer{Latest: "0.2.1", Newer: true}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := key.check(t, t.TempDir(), key.serve(t, listOf(t, day(1), test.releases...)), test.current)
			if err != nil {
				t.Fatal(err)
			}
			want := test.want
			want.Current, want.Release, want.Issued, want.Kept = test.current, update.IsRelease(test.current), day(1), true
			want.URL = "https://example.org/" + want.Latest
			if got != want {
				t.Errorf("got %+v, want %+v", got, want)
			}
		})
	}
}

func TestCheck_Rejected(t *testing.T) {
	key, other := newSigner(t), newSigner(t)
	good := listOf(t, day(1), "0.2.0")
	bad := func(old, text string) []byte {
		changed := bytes.Replace(good, []byte(old), []byte(text), 1)
		if bytes.Equal(changed, good) {
			t.Fatalf("%q is not in the list", old)
		}
		return changed
	}
	for name, test := range map[string]struct{ url, want string }{
		"a changed list":         {serve(t, bad("0.2.0", "0.3.0"), minisign.Sign(key.private, good)), "signature is wrong"},
		"another key":            {other.serve(t, good), "signature is wrong"},
		"no signature":           {serve(t, good, nil), "signature is wrong"},
		"another program":        {key.serve(t, bad("mimird", "other")), "another program"},
		"not JSON":               {key.serve(t, []byte("SHA256SUMS")), "not JSON"},
		"no version":             {key.serve(t, bad("0.2.0", "latest")), "semantic version"},
		"a version of words":     {key.serve(t, bad("0.2.0", "0.2.0 call us")), "semantic version"},
		"a URL without https":    {key.serve(t, bad("https:", "http:")), "URL with https"},
		"a URL with an escape":   {key.serve(t, bad("example.org/", `example.org/\u001b`)), "URL with https"},
		"a date in the future":   {key.serve(t, listOf(t, time.Now().AddDate(1, 0, 0), "0.2.0")), "in the future"},
		"no releases":            {key.serve(t, listOf(t, day(1))), "names no release"},
		"older than the program": {key.serve(t, listOf(t, day(1), "0.0.9")), "does not name version 0.1.0"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			_, err := key.check(t, dir, test.url, "0.1.0")
			if !errors.Is(err, update.ErrRejected) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("want rejected with %q, got %v", test.want, err)
			}
			if _, err := os.Stat(filepath.Join(dir, "update.json")); err == nil {
				t.Error("a rejected list was kept")
			}
		})
	}
}

func TestCheck_OlderList_Rejected(t *testing.T) {
	key, dir, another := newSigner(t), t.TempDir(), t.TempDir()
	older, newer := key.serve(t, listOf(t, day(1), "0.1.0")), key.serve(t, listOf(t, day(2), "0.1.0", "0.2.0"))
	for _, dir := range []string{dir, another} {
		for _, url := range []string{older, newer, newer} {
			if _, err := key.check(t, dir, url, "0.1.0"); err != nil {
				t.Fatal(err)
			}
		}
	}
	_, err := key.check(t, dir, older, "0.1.0")
	if !errors.Is(err, update.ErrRejected) || !strings.Contains(err.Error(), "of 2026-01-01 00:00:00 UTC, older than the one of 2026-01-02 00:00:00 UTC") {
		t.Fatalf("the older list: %v", err)
	}
	if a, err := key.check(t, dir, newer, "0.1.0"); err != nil || !a.Newer {
		t.Fatalf("after the older list: %+v, %v", a, err)
	}
}

func TestCheck_DamagedState_Named(t *testing.T) {
	key := newSigner(t)
	url := key.serve(t, listOf(t, day(1), "0.1.0"))
	for name, content := range map[string]string{"garbage": "garbage", "empty": "", "no date": "{}", "long": strings.Repeat(" ", 1<<20)} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "update.json")
			if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := key.check(t, dir, url, "0.1.0"); err == nil || !strings.Contains(err.Error(), path+" is damaged") {
				t.Fatalf("got %v", err)
			}
		})
	}
}

func TestCheck_PublishedBetweenTheFiles_AskedAgain(t *testing.T) {
	key := newSigner(t)
	older, newer := listOf(t, day(1), "0.1.0"), listOf(t, day(2), "0.2.0")
	lists := 0
	url := serveBy(t, func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, ".minisig"):
			_, _ = w.Write(minisign.Sign(key.private, newer)) // the test sees what is missing
		case lists == 0:
			lists++
			_, _ = w.Write(older)
		default:
			_, _ = w.Write(newer)
		}
	})
	if a, err := key.check(t, t.TempDir(), url, "0.1.0"); err != nil || a.Latest != "0.2.0" {
		t.Fatalf("got %+v, %v", a, err)
	}
}

// TestCheck_HostileServer meets servers that answer without end, never, or with something
// else.
func TestCheck_HostileServer(t *testing.T) {
	key := newSigner(t)
	endless := func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			if _, err := io.WriteString(w, strings.Repeat("{", 4096)); err != nil {
				return
			}
		}
	}
	good := listOf(t, day(1), "0.2.0")
	for name, test := range map[string]struct {
		handler http.HandlerFunc
		want    string
	}{
		"endless list": {endless, "more than 65536 bytes"},
		"endless signature": {func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, ".minisig") {
				endless(w, r)
				return
			}
			_, _ = w.Write(good)
		}, "more than 4096 bytes"},
		"endless header": {func(w http.ResponseWriter, _ *http.Request) {
			for range 100 {
				w.Header().Add("X-More", strings.Repeat("x", 4096))
			}
		}, "header"},
		"redirects to itself": {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, http.StatusFound) }, "more than 5 redirects"},
		"redirect to a file": {func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Location", "file:///etc/passwd")
			w.WriteHeader(http.StatusFound)
		}, "unsupported protocol"},
		"not found": {http.NotFound, "answers 404"},
		"cut off": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "1000")
			_, _ = io.WriteString(w, "{")
		}, "unexpected EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := key.check(t, t.TempDir(), serveBy(t, test.handler), "0.1.0")
			if !errors.Is(err, update.ErrUnreachable) || !strings.Contains(err.Error(), test.want) {
				t.Fatalf("want unreachable with %q, got %v", test.want, err)
			}
		})
	}
}

func TestCheck_NeverAnswers_Ends(t *testing.T) {
	key := newSigner(t)
	for name, handler := range map[string]http.HandlerFunc{
		"silent": func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() },
		"half": func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, "{")
			_ = http.NewResponseController(w).Flush() // the rest never comes
			<-r.Context().Done()
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := update.Check(t.Context(), update.Options{
				URL: serveBy(t, handler), Key: key.public.String(), Current: "0.1.0", Dir: t.TempDir(), Timeout: 100 * time.Millisecond,
			})
			if !errors.Is(err, update.ErrUnreachable) || !errors.Is(err, context.DeadlineExceeded) {
				t.Fatalf("got %v", err)
			}
		})
	}
}
