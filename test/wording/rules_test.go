// SPDX-License-Identifier: MPL-2.0

package wording

import (
	"strings"
	"testing"
)

func TestPhrases(t *testing.T) {
	t.Parallel()
	for text, wrong := range map[string]bool{
		"Whoever writes gets an answer.":                        true,
		"The sender gets an answer.":                            false,
		"a socket that is no file":                              true,
		"a socket that is not a file":                           false,
		"there is no file":                                      false,
		"it is no longer there":                                 false,
		"The room is made anew.":                                true,
		"A signature is made by the owner's key.":               false,
		"A frame is made of fields.":                            false,
		"the stream is handed\nover":                            true,
		"Is it silent, the next one is asked.":                  true,
		"Should the disk be full, the process ends.":            true,
		"The disk is full. Is it empty again, we go on.":        true,
		"Is it silent?":                                         false,
		"When it is silent, the next one is asked.":             false,
		"Has reports whether the value is there, and is quick.": false,
		"it is tried again":                                     true,
		"the bridge retries":                                    false,
		"an app of generation 2":                                true,
		"a gen2 app":                                            false,
		"takes a file, keeps it, and looks at it":               false,
	} {
		if got := findPhrases(text); (len(got) > 0) != wrong {
			t.Errorf("%q: %v, want a finding: %v", text, got, wrong)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]bool{
		"handOver": true, "HandoverTime": true, "handler": false, "passOn": true, "passphraseOn": false,
		"elsewhere": true, "silentServers": true, "isDeaf": true, "HTTPServer": false, "hide": true, "hideLocked": false,
		"errGaveWay": true,
	} {
		if better, got := wrongName(name, false); got != wrong {
			t.Errorf("%s: better %q, want a finding: %v", name, better, wrong)
		}
	}
	if _, wrong := wrongName("hide", true); wrong {
		t.Error("a local variable may be called hide")
	}
}

// Every source here is a package of one file; what is wanted are words of its only
// finding, "" for none.
func TestRules_GoFile(t *testing.T) {
	t.Parallel()
	keys := map[string]bool{"err": true, "contact": true}
	for source, want := range map[string]string{
		"func f() { log.Info(\"session ended\", \"err\", err) }":                                           "",
		"func f() { log.Info(\"Session ended\") }":                                                         "lower-case",
		"func f() { log.Info(\"session ended.\") }":                                                        "full stop",
		"func f() { log.Info(\"session \" + name) }":                                                       "not a constant",
		"func f() { log.Info(\"session \" + \"ended\") }":                                                  "",
		"func f() { c.Log().Warn(\"session ended\", \"error\", err) }":                                     `"error"`,
		"func f() { c.Log().Warn(\"session ended\", \"err\", err, \"who\", x) }":                           `"who"`,
		"func f() { l.With(\"who\", x) }":                                                                  "",
		"func f() { l.log.With(\"who\", x) }":                                                              `"who"`,
		"func f() { log.Warn(\"session ended\", slog.Int(\"number\", 1)) }":                                `"number"`,
		"func f() { log.Warn(\"session ended\", append(attrs, \"number\", 1)...) }":                        `"number"`,
		"func f() { text := \"one\"; if x { text = \"Two\" }; log.Log(ctx, level, text) }":                 `"Two"`,
		"func f() { text := \"one\"; text = g(); log.Log(ctx, level, text) }":                              "not a constant",
		"func note(text string) { log.Info(text) }; func f() { note(\"session ended\", \"err\", err) }":    "",
		"func note(text string) { log.Info(text) }; func f() { note(\"Session ended\") }":                  "lower-case",
		"func note(text string) { log.Info(text) }; func f() { note(\"session ended\", \"number\", err) }": `"number"`,
		"func f() { t.Log(\"Session ended\") }":                                                            "",
		"// f is whoever calls.\nfunc f() {}":                                                              "whoever",
		"// f says\n// that a socket is\n// no file.\nfunc f() {}":                                         "is no",
		"// Says that.\nfunc f() {}":                                                                       "begin with its name",
		"// A gate opens.\ntype gate int":                                                                  "",
		"func f() error { return errors.New(\"it is no file\") }":                                          "is no",
		"type recall struct{}":                                                                             "recall",
		"func f(recall int) {}":                                                                            "recall",
		"func f() { recall := 1 }":                                                                         "recall",
		"type t struct { recall int }":                                                                     "recall",
	} {
		f, err := parseGo("a.go", []byte("package a\n"+source))
		if err != nil {
			t.Errorf("%s: %v", source, err)
			continue
		}
		found := append(checkProse(f), checkNames(f)...)
		found = append(found, checkComments(f)...)
		found = append(found, checkLogs([]*goFile{f}, keys)...)
		switch {
		case want == "" && len(found) > 0:
			t.Errorf("%s: %v", source, found)
		case want != "" && (len(found) != 1 || !strings.Contains(found[0].Text, want)):
			t.Errorf("%s: %v, want one finding with %s", source, found, want)
		}
	}
}

func TestLogKeys_TableOfStyleGuide(t *testing.T) {
	t.Parallel()
	keys, err := logKeys("# Style\n\n| `no` | x |\n\n## Log lines\n\n| key | value |\n|---|---|\n| `err`, `room_id` | of `this` |\n\n## Next\n\n| `later` | x |\n")
	if err != nil {
		t.Fatal(err)
	}
	if len(keys) != 2 || !keys["err"] || !keys["room_id"] {
		t.Errorf("keys %v", keys)
	}
	if _, err := logKeys("# Style"); err == nil {
		t.Error("a style guide without a table is accepted")
	}
}

func TestDocuments(t *testing.T) {
	t.Parallel()
	changelog := "# Changelog\n\n## Unreleased\n\n- It is made\n  anew.\n\n## 0.1\n\n- It is made.\n"
	if found := checkDocument("CHANGELOG.md", changelog); len(found) != 1 || found[0].Line != 5 {
		t.Errorf("found %v, want line 5 alone", found)
	}
	if found := checkDocument("README.md", changelog); len(found) != 2 {
		t.Errorf("found %v, want both", found)
	}
}
