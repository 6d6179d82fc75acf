// SPDX-License-Identifier: MPL-2.0

package identity_test

import (
	"errors"
	"os"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

// Bar S26
func TestLinkMatchesTheVector(t *testing.T) {
	file, err := os.ReadFile("../peer/testdata/peer.json")
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, v := range wiretest.Load(t, file) {
		if v.Name != "link" {
			continue
		}
		found = true
		want := identity.Link{Key: v.Key("identity"), Name: v.Text("name")}
		if want.String() != v.OutputText() {
			t.Errorf("written as %s", want)
		}
		if got, err := identity.ParseLink(v.OutputText()); got != want || err != nil {
			t.Errorf("read as %+v, error %v", got, err)
		}
	}
	if !found {
		t.Error("no such vector")
	}
}

func TestParseLinkReadsEveryForm(t *testing.T) {
	k := key(1).Public()
	digits := k.String()
	for _, test := range []struct{ link, name string }{
		{digits, ""},
		{"  " + strings.ToUpper(digits) + "\n", ""},
		{"mimir://mm/u/" + digits, ""},
		{"mimir://mm/u/" + digits + "/", ""},
		{"mimir://mm/u/" + digits + "/Bob", "Bob"},
		{"MIMIR://MM/U/" + strings.ToUpper(digits) + "/Bob", "Bob"},
		{"https://go.mimir.im/u/" + digits + "/Bob+B.", "Bob B."},
		{"HTTPS://Go.Mimir.IM/u/" + digits, ""},
		{"https://go.mimir.im/u/" + digits + "/Bob%20B/more/parts", "Bob B"},
		{"https://go.mimir.im/u/" + digits + "/Bob?utm=1#top", "Bob"},
		{"https://go.mimir.im/u/" + digits + "?utm=1", ""},
		{"mimir://mm/u/" + digits + "/a%2Fb%3F", "a/b?"},
		{"mimir://mm/u/" + digits + "/%D0%90%2b", "А+"},
		{"mimir://mm/u/" + digits + "/%F0%9F%91%A9%E2%80%8D%F0%9F%9A%80", "👩‍🚀"},
	} {
		if got, err := identity.ParseLink(test.link); got != (identity.Link{Key: k, Name: test.name}) || err != nil {
			t.Errorf("%s: %+v, error %v", test.link, got, err)
		}
	}
}

func TestParseLinkRefusesOtherText(t *testing.T) {
	digits := key(1).Public().String()
	for _, text := range []string{
		"", "mimir:", "mimir://g/1234567890", "mimir://mm/g/" + digits, "mimir://other/u/" + digits, "http://go.mimir.im/u/" + digits,
		"https://go.mimir.im.evil.example/u/" + digits, "https://evil.example/u/" + digits, "https://go.mimir.im@evil.example/u/" + digits,
		digits[:63], digits + "0", digits[:63] + "x", "mimir://mm/u/" + digits[:62], "mimir://mm/u/" + digits + "00", "mimir://mm/u/",
		"mimir://mm/u//" + digits, "mimir://mm/u/" + digits + "/%", "mimir://mm/u/" + digits + "/%zz", "x mimir://mm/u/" + digits,
		"mimir://mm/u/" + digits + "/" + strings.Repeat("a", wire.MaxLink),
	} {
		if got, err := identity.ParseLink(text); !errors.Is(err, identity.ErrInvalidLink) || got != (identity.Link{}) {
			t.Errorf("%.100q: %+v, error %v", text, got, err)
		}
	}
	for _, zero := range []string{strings.Repeat("0", 64), "mimir://mm/u/" + strings.Repeat("0", 64) + "/x"} {
		if _, err := identity.ParseLink(zero); !errors.Is(err, identity.ErrInvalidKey) {
			t.Errorf("%s: error %v", zero, err)
		}
	}
}

// Bar S03
func TestLinkCleansNames(t *testing.T) {
	k := key(1).Public()
	for _, test := range []struct{ name, want string }{
		{"a\x00b\nc\td\x7f", "abcd"},
		{"\u202eevil\u2066x\u200fy\u061c", "evilxy"},
		{"a\u2028b\u2029c\ufeff", "abc"},
		{"  spaces  inside ", "spaces  inside"},
		{"\xff\xfea", "a"},
		{strings.Repeat("a", 255), strings.Repeat("a", 255)},
		{strings.Repeat("a", 256), strings.Repeat("a", 256)},
		{strings.Repeat("a", 257), strings.Repeat("a", 256)},
		{strings.Repeat("я", 200), strings.Repeat("я", 128)},
		{strings.Repeat("a", 255) + " b", strings.Repeat("a", 255)},
		{"\x01 \u202e ", ""},
	} {
		l := identity.Link{Key: k, Name: test.name}
		for _, text := range []string{l.String(), l.URL()} {
			if got, err := identity.ParseLink(text); got.Name != test.want || err != nil {
				t.Errorf("%q: %q, error %v", test.name, got.Name, err)
			}
		}
	}
	if got := (identity.Link{Key: k, Name: "\x01"}).String(); got != "mimir://mm/u/"+k.String() {
		t.Errorf("no name: %s", got)
	}
	if got := (identity.Link{Key: k, Name: "a b"}).URL(); got != "https://go.mimir.im/u/"+k.String()+"/a+b" {
		t.Errorf("url: %s", got)
	}
}

// Bar S01
func FuzzContactLink(f *testing.F) {
	digits := key(1).Public().String()
	for _, seed := range []string{
		digits, "mimir://mm/u/" + digits + "/%D0%90+b", "https://go.mimir.im/u/" + digits + "/a%2Fb?c#d", "mimir://g/1", "MIMIR://mm/u/" + digits + "/\u202e",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		wiretest.CheckAllocationSampled(t, []byte(s), func() { _, _ = identity.ParseLink(s) })
		l, err := identity.ParseLink(s)
		if err != nil {
			if !errors.Is(err, identity.ErrInvalidLink) && !errors.Is(err, identity.ErrInvalidKey) {
				t.Errorf("error %v", err)
			}
			if len(err.Error()) > 300 {
				t.Errorf("error of %d bytes", len(err.Error()))
			}
			return
		}
		if len(l.Name) > wire.MaxNickname || !utf8.ValidString(l.Name) || strings.ContainsFunc(l.Name, unicode.IsControl) {
			t.Errorf("name %q", l.Name)
		}
		for _, text := range []string{l.String(), l.URL()} {
			if again, err := identity.ParseLink(text); again != l || err != nil {
				t.Errorf("%s reads as %+v, error %v", text, again, err)
			}
		}
	})
}
