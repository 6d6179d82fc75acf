// SPDX-License-Identifier: MPL-2.0

package identity

import (
	"fmt"
	"net/url" //nolint:depguard // escapes text, opens nothing
	"strings"
	"unicode"

	"github.com/mimird/mimird/proto/wire"
)

// The forms of a contact link. The apps check neither kind nor, for mimir:, the
// host; nobody writes others, and a group link (mimir://g/...) must not read as a
// contact.
const (
	linkPrefix = "mimir://mm/u/"
	urlPrefix  = "https://go.mimir.im/u/"
)

// Link is a contact as people pass it on: in a message, as a QR code.
type Link struct {
	Key PublicKey
	// Name is what the link calls the contact; "" when it does not say. It is a
	// proposal of the link's author, not a fact.
	Name string
}

// ParseLink reads one of
//
//	mimir://mm/u/<64 hex digits>/<name>
//	https://go.mimir.im/u/<64 hex digits>/<name>
//	<64 hex digits>
//
// The name is form-urlencoded and may be absent; scheme, host and digits may be
// upper case; white space around the link, further path segments, a query and a
// fragment are ignored. Control characters and direction marks are taken out of
// the name, which is cut to 256 bytes. The error is [ErrInvalidLink], or
// [ErrInvalidKey] for digits that cannot be a key.
func ParseLink(s string) (Link, error) {
	if len(s) > wire.MaxLink {
		return Link{}, fmt.Errorf("%w: longer than %d bytes", ErrInvalidLink, wire.MaxLink)
	}
	s = strings.TrimSpace(s)
	path, ok := cutPrefixFold(s, linkPrefix)
	if !ok {
		path, ok = cutPrefixFold(s, urlPrefix)
	}
	if !ok && len(s) != 2*KeySize {
		return Link{}, fmt.Errorf("%w: want mimir://mm/u/<key>/<name>, https://go.mimir.im/u/<key>/<name> or the 64 hex digits of a key", ErrInvalidLink)
	}
	if !ok {
		path = s
	}
	if end := strings.IndexAny(path, "?#"); end >= 0 {
		path = path[:end]
	}
	digits, rest, _ := strings.Cut(path, "/")
	escaped, _, _ := strings.Cut(rest, "/")

	key, err := ParsePublicKey(digits)
	if err != nil {
		return Link{}, fmt.Errorf("%w: %w", ErrInvalidLink, err)
	}
	if err := key.Validate(); err != nil {
		return Link{}, fmt.Errorf("contact link: %w", err)
	}
	name, err := url.QueryUnescape(escaped)
	if err != nil {
		return Link{}, fmt.Errorf("%w: the name is not urlencoded", ErrInvalidLink)
	}
	return Link{Key: key, Name: cleanName(name)}, nil
}

// String returns the mimir:// form, which is also the content of QR codes.
func (l Link) String() string { return linkPrefix + l.path() }

// URL returns the https:// form, which opens in a browser on devices without the
// app.
func (l Link) URL() string { return urlPrefix + l.path() }

func (l Link) path() string {
	if name := cleanName(l.Name); name != "" {
		return l.Key.String() + "/" + url.QueryEscape(name)
	}
	return l.Key.String()
}

func cutPrefixFold(s, prefix string) (rest string, ok bool) {
	if len(s) < len(prefix) || !strings.EqualFold(s[:len(prefix)], prefix) {
		return s, false
	}
	return s[len(prefix):], true
}

// cleanName makes a name from outside fit to be shown in one line: no control
// characters, no line separators, nothing that turns the direction of the text
// around it. Joiners stay, emoji need them.
func cleanName(name string) string {
	name = strings.Map(func(r rune) rune {
		switch {
		case r == unicode.ReplacementChar, unicode.IsControl(r), unicode.Is(unicode.Bidi_Control, r),
			r == '\u2028', r == '\u2029', r == '\ufeff':
			return -1
		}
		return r
	}, name)
	return strings.TrimSpace(wire.CutText(strings.TrimSpace(name), wire.MaxNickname))
}
