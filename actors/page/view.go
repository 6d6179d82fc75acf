// SPDX-License-Identifier: MPL-2.0

package page

import (
	"html/template"
	"net/url"
	"path"
	"regexp"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"

	"github.com/mimird/mimird/actors/control"
)

// functions are what templates use. html/template escapes what they return, but for
// richText, which escapes itself.
func (s *server) functions() template.FuncMap {
	return template.FuncMap{
		"asset":    func(name string) string { return "/assets/" + name + "?v=" + s.assets[name].version },
		"link":     accountLink,
		"found":    foundLink,
		"clean":    clean,
		"tidy":     tidy,
		"short":    short,
		"initial":  initial,
		"rich":     richText,
		"cut":      cutText,
		"isCut":    func(text string) bool { return len(text) > shownText },
		"summary":  summaryOf,
		"size":     func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) },
		"bytes":    humanize.IBytes,
		"face":     faceOf,
		"since":    func(t time.Time) string { return humanize.Time(t) },
		"machine":  func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"clock":    func(t time.Time) string { return t.Local().Format("15:04") },
		"dayOf":    func(t time.Time) string { return t.Local().Format("Monday, 2 January 2006") },
		"dateTime": func(t time.Time) string { return t.Local().Format("2 Jan 2006, 15:04") },
		"when":     whenShort,
		"words":    words,
		"mark":     markOf,
		"shows":    func(kind string) bool { return shownKinds[kind] },
		"starts":   strings.HasPrefix,
		"join":     strings.Join,
		"reacted":  reactedBy,
		"timeOf":   timeOf,
		"indent":   func(depth int) string { return strings.Repeat("  ", depth) },
		"ptr":      func(m control.Message) *control.Message { return &m },
	}
}

// said are the sentences that are shown after a form has done its work.
func said(key string) string {
	return map[string]string{
		"added":    "The contact was added.",
		"accept":   "You have said yes.",
		"decline":  "You have said no.",
		"block":    "The contact is blocked: nothing of theirs is accepted any more.",
		"unblock":  "The contact is not blocked any more.",
		"rename":   "The name was changed.",
		"mute":     "This conversation is muted.",
		"unmute":   "This conversation is not muted any more.",
		"trust":    "The contact may connect from that device.",
		"remove":   "It was removed with all messages.",
		"create":   "The group is being created; that takes some seconds of work, and its mediator has to be reached.",
		"invite":   "The invite is with the mediator, or goes to it as soon as it is reached.",
		"edit":     "The change is with the mediator, or goes to it as soon as it is reached.",
		"leave":    "You leave the group as soon as its mediator is reached.",
		"delete":   "The group is deleted as soon as its mediator is reached.",
		"member":   "The mediator has it, or gets it as soon as it is reached.",
		"password": "The password was changed.",
		"ended":    "The session was ended.",
		"account":  "The account was created.",
		"saved":    "The settings were saved.",
		"backup":   "The backup has begun; this page says below how it went.",
		"backing":  "A backup is under way already; this page says below how it went.",
	}[key]
}

// clean makes one line of a text that somebody else has chosen, without what changes the
// direction of writing or cannot be seen.
func clean(text string) string {
	text = strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.Is(unicode.Cc, r), unicode.Is(unicode.Cf, r) && r != 0x200d, r == utf8.RuneError:
			return -1
		}
		return r
	}, text)
	return strings.Join(strings.Fields(text), " ")
}

// tidy is clean for each line of a text.
func tidy(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = clean(line)
	}
	return strings.Join(lines, "\n")
}

// short is the beginning of a key.
func short(key string) string {
	if len(key) > 16 {
		return key[:16]
	}
	return key
}

// initial is what stands in place of a picture.
func initial(name string) string {
	for _, r := range clean(name) {
		return string(unicode.ToUpper(r))
	}
	return "?"
}

// face is what stands for a contact or group.
type face struct {
	Picture string // where it is, "" for none
	Initial string
	Tint    int
}

// tints is how many colours there are for those without a picture.
const tints = 6

func faceOf(account string, c control.Conversation) face {
	f := face{Initial: initial(c.Name)}
	for _, b := range []byte(c.ID) {
		f.Tint = (f.Tint*31 + int(b)) % tints
	}
	if c.Contact != nil && c.Contact.Avatar > 0 || c.Group != nil && c.Group.Avatar > 0 {
		f.Picture = accountLink(account, "c", c.ID, "avatar")
	}
	return f
}

// cutText returns the beginning of a text.
func cutText(text string) string {
	if len(text) <= shownText {
		return text
	}
	return strings.ToValidUTF8(text[:shownText], "")
}

// webAddress finds addresses of web pages in a text.
var webAddress = regexp.MustCompile(`https?://[^\s<>"'` + "`" + `]+`)

// richText escapes a text and makes links of the web addresses in it. They open apart,
// and are told nothing of this page.
func richText(text string) template.HTML {
	var b strings.Builder
	for at := 0; at < len(text); {
		found := webAddress.FindStringIndex(text[at:])
		if found == nil {
			b.WriteString(template.HTMLEscapeString(text[at:]))
			break
		}
		start, end := at+found[0], at+found[1]
		address := strings.TrimRight(text[start:end], ".,;:!?)]}")
		end = start + len(address)
		b.WriteString(template.HTMLEscapeString(text[at:start]))
		if u, err := url.Parse(address); err == nil && u.Host != "" {
			escaped := template.HTMLEscapeString(address)
			b.WriteString(`<a href="` + template.HTMLEscapeString(u.String()) + `" target="_blank" rel="noopener noreferrer nofollow">` + escaped + `</a>`)
		} else {
			b.WriteString(template.HTMLEscapeString(address))
		}
		at = end
	}
	return template.HTML(b.String()) //nolint:gosec // every part of it was escaped above
}

// summaryOf says in a few words what a message is, nil for none.
func summaryOf(m *control.Message) string {
	switch {
	case m == nil:
		return ""
	case m.Deleted:
		return "deleted message"
	case m.Unreadable:
		return "message that cannot be read"
	case m.Reaction != nil && m.Reaction.Emoji == "":
		return "took a reaction back"
	case m.Reaction != nil:
		return "reacted with " + clean(m.Reaction.Emoji)
	case m.File != nil && m.File.Voice:
		return "voice message"
	case m.File != nil && m.File.Picture:
		return strings.TrimSpace("picture " + clean(m.File.Caption))
	case m.File != nil:
		return "file " + clean(m.File.Name)
	case m.TypeName == "call":
		return "call"
	case m.TypeName == "text", m.TypeName == "system" && m.Text != "":
		return clean(m.Text)
	}
	return m.TypeName + " message"
}

// whenShort is a time in a list: of today the time, else the day.
func whenShort(t time.Time) string {
	now, local := time.Now(), t.Local()
	switch {
	case now.Format(time.DateOnly) == local.Format(time.DateOnly):
		return local.Format("15:04")
	case now.Year() == local.Year():
		return local.Format("2 Jan")
	}
	return local.Format("2 Jan 2006")
}

// deliveryMark says how far a message of ours has come.
type deliveryMark struct{ Sign, Means, Class string }

func markOf(m control.Message) deliveryMark {
	switch {
	case m.Direction != "out":
		return deliveryMark{}
	case m.State == "delivered":
		return deliveryMark{"✓✓", "delivered", "delivered"}
	case m.State == "failed":
		return deliveryMark{"✕", "not delivered: " + clean(m.Reason), "failed"}
	case m.File != nil && m.File.State == "uploading":
		if m.File.Reason != "" {
			return deliveryMark{"↑", "not uploaded yet: " + clean(m.File.Reason), "pending"}
		}
		return deliveryMark{"↑", "being uploaded", "pending"}
	}
	return deliveryMark{"◷", "waiting to be delivered", "pending"}
}

// reactedBy says who has reacted.
func reactedBy(r control.MessageReaction) string {
	switch {
	case r.Direction == "out":
		return "you"
	case r.AuthorName != "":
		return clean(r.AuthorName)
	case r.Author != "":
		return short(r.Author)
	}
	return "they"
}

// words makes words of the name of a state.
func words(name string) string { return strings.ReplaceAll(name, "_", " ") }

func upperFirst(text string) string {
	first, size := utf8.DecodeRuneInString(text)
	if size == 0 {
		return ""
	}
	return string(unicode.ToUpper(first)) + strings.TrimSuffix(text[size:], ".")
}

// fileName is a name for a download, without a path in it.
func fileName(name string) string {
	name = path.Base(strings.ReplaceAll(clean(name), `\`, "/"))
	if name == "." || name == "/" || name == "" {
		return "file"
	}
	return name
}
