// SPDX-License-Identifier: MPL-2.0

package doctor

import "testing"

func TestClean_TextOfOthers_OneLineThatIsReadAsWritten(t *testing.T) {
	for text, want := range map[string]string{
		"two\r\nlines\x1b[31m\x7f\u0085":   "two lines [31m",
		"turned \u202earound\u202c":        "turned  around",
		"\u2066isolated\u2069 \u200fmarks": "isolated   marks",
		"Ångström, 你好":                     "Ångström, 你好",
	} {
		if got := clean(text); got != want {
			t.Errorf("%q becomes %q, want %q", text, got, want)
		}
	}
}
