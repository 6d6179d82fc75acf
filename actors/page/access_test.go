// SPDX-License-Identifier: MPL-2.0

package page

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mimird/mimird/actors/control/browsers"
	"github.com/mimird/mimird/test/virtual"
)

// comeIn uses a new link.
func comeIn(t *testing.T, a *Access, agent string) (token string) {
	t.Helper()
	link, err := a.Link()
	if err != nil {
		t.Fatal(err)
	}
	_, code, _ := strings.Cut(link.URL, "code=")
	token, ok, err := a.enter(code, visitor{agent: agent, from: "127.0.0.1"})
	if err != nil || !ok {
		t.Fatalf("the link lets nobody in: %t, %v", ok, err)
	}
	return token
}

func isIn(t *testing.T, a *Access, token string) bool {
	t.Helper()
	s, err := a.find(token)
	if err != nil {
		t.Fatal(err)
	}
	return s != nil
}

func TestAccess_SessionsOutliveTheProcessAndExpire(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "page.json")
		a := NewAccess(path)
		if _, err := a.Link(); !errors.Is(err, browsers.ErrNotServed) {
			t.Errorf("a link to nowhere: %v", err)
		}
		a.serve("http://127.0.0.1:1")
		one, two := comeIn(t, a, "one"), comeIn(t, a, "two")
		raw, err := os.ReadFile(path)
		if err != nil || strings.Contains(string(raw), one) || strings.Contains(string(raw), two) {
			t.Errorf("the file has a token in the clear, or is not there: %v", err)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("mode %v, %v", info.Mode(), err)
		}
		a = NewAccess(path) // after a restart
		for range 40 {
			virtual.Sleep(20 * 24 * time.Hour)
			if !isIn(t, a, one) {
				break
			}
		}
		sessions, err := a.Sessions()
		if err != nil || len(sessions) != 0 {
			t.Errorf("after more than a year: %+v, %v", sessions, err)
		}
		a.serve("http://127.0.0.1:1")
		three := comeIn(t, a, "three")
		virtual.Sleep(29 * 24 * time.Hour)
		if !isIn(t, a, three) || isIn(t, a, two) {
			t.Error("a session has ended early, or was not ended")
		}
		virtual.Sleep(31 * 24 * time.Hour)
		if isIn(t, a, three) {
			t.Error("a session that nobody used for 31 days goes on")
		}
	})
}

func TestAccess_Bounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := NewAccess(filepath.Join(t.TempDir(), "page.json"))
		a.serve("http://127.0.0.1:1")
		old, err := a.Link()
		if err != nil {
			t.Fatal(err)
		}
		_, code, _ := strings.Cut(old.URL, "code=")
		virtual.Sleep(linkLife + time.Second)
		if _, ok, err := a.enter(code, visitor{}); ok || err != nil {
			t.Errorf("a link of more than ten minutes: %t, %v", ok, err)
		}
		var tokens []string
		for range maxSessions + 2 {
			tokens = append(tokens, comeIn(t, a, strings.Repeat("ü", 300)))
			virtual.Sleep(time.Second)
		}
		s, err := a.Sessions()
		if err != nil || len(s) != maxSessions || len(s[0].Agent) > maxAgent {
			t.Errorf("%d sessions, %v", len(s), err)
		}
		if isIn(t, a, tokens[0]) || !isIn(t, a, tokens[len(tokens)-1]) {
			t.Error("not the oldest session was evicted")
		}
		for range guessBurst {
			if _, err := a.login(t.Context(), "wrong", visitor{}); !errors.Is(err, errWrongPassword) {
				t.Fatal(err)
			}
		}
		if _, err := a.login(t.Context(), "wrong", visitor{}); !errors.Is(err, errTooMany) {
			t.Errorf("one more try: %v", err)
		}
		comeIn(t, a, "a link needs no password")
		virtual.Sleep(guessEvery)
		if _, err := a.login(t.Context(), "wrong", visitor{}); !errors.Is(err, errWrongPassword) {
			t.Errorf("a try after five seconds: %v", err)
		}
		for _, bad := range []string{"short", strings.Repeat("x", maxPassword+1)} {
			if err := a.SetPassword(bad); !errors.Is(err, ErrPassword) {
				t.Errorf("a password of %d bytes: %v", len(bad), err)
			}
		}
	})
}

func TestAccess_DamagedFile_LetsNobodyIn(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.json")
	if err := os.WriteFile(path, []byte("{not json"), 0o600); err != nil {
		t.Fatal(err)
	}
	a := NewAccess(path)
	a.serve("http://127.0.0.1:1")
	if _, err := a.find("token"); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("find: %v", err)
	}
	if err := a.SetPassword("correct horse battery"); err == nil {
		t.Error("a damaged file was overwritten")
	}
	if raw, err := os.ReadFile(path); err != nil || string(raw) != "{not json" {
		t.Errorf("the file has %q, %v", raw, err)
	}
}

func TestRichText_EscapesAndLinks(t *testing.T) {
	for text, want := range map[string]string{
		`<b>"x"</b> & 'y'`:                     `&lt;b&gt;&#34;x&#34;&lt;/b&gt; &amp; &#39;y&#39;`,
		`see https://example.org/a?b=1&c=2.`:   `see <a href="https://example.org/a?b=1&amp;c=2" target="_blank" rel="noopener noreferrer nofollow">https://example.org/a?b=1&amp;c=2</a>.`,
		`javascript:alert(1) data:text/html,x`: `javascript:alert(1) data:text/html,x`,
		`https://"onmouseover="alert(1)`:       `https://&#34;onmouseover=&#34;alert(1)`,
		`http://a.b/<script>`:                  `<a href="http://a.b/" target="_blank" rel="noopener noreferrer nofollow">http://a.b/</a>&lt;script&gt;`,
	} {
		if have := string(richText(text)); have != want {
			t.Errorf("%q:\nhave %s\nwant %s", text, have, want)
		}
	}
}
