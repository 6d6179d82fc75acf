// SPDX-License-Identifier: MPL-2.0

package wire_test

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"testing"

	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

func TestObjectReadsIntegersAsTheReference(t *testing.T) {
	for _, test := range []struct {
		value string
		want  int64
	}{
		{"0", 0},
		{"-0", 0},
		{"17", 17},
		{"-9223372036854775808", math.MinInt64},
		{"9223372036854775807", math.MaxInt64},
		{"9223372036854775808", 0},
		{"-9223372036854775809", 0},
		{"18446744073709551615", 0},
		{"1.0", 0},
		{"1e3", 0},
		{"1e999", 0},
		{`"17"`, 0},
		{"true", 0},
		{"null", 0},
		{"[17]", 0},
		{`{"guid":17}`, 0},
	} {
		t.Run(test.value, func(t *testing.T) {
			for _, form := range []string{`{"guid":%}`, " {\n\"guid\" :\t% } ", `{"a":[{"guid":1}],"guid":%,"z":{}}`, `{"guid":5,"guid":%}`, `{"gu\u0069d":%}`} {
				text := strings.Replace(form, "%", test.value, 1)
				o, err := wire.ParseObject([]byte(text))
				if err != nil {
					t.Fatalf("%s: %v", text, err)
				}
				if got := o.Int64("guid"); got != test.want {
					t.Errorf("%s: %d, want %d", text, got, test.want)
				}
			}
		})
	}
}

func TestObjectComparesKeysExactly(t *testing.T) {
	o, err := wire.ParseObject([]byte(`{"GUID":1,"guid ":2,"":3,"a\"b":4}`))
	if err != nil {
		t.Fatal(err)
	}
	if o.Int64("guid") != 0 || o.Int64("") != 3 || o.Int64(`a"b`) != 4 {
		t.Error("keys are mixed up")
	}
	if (wire.Object{}).Int64("guid") != 0 {
		t.Error("the zero object has a value")
	}
}

func TestObjectReadsTexts(t *testing.T) {
	o, err := wire.ParseObject([]byte(`{"a":"x\/\u0079","n":null,"i":5,"l":"\ud800","e":"","q":"\"}"}`))
	if err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]string{"a": "x/y", "n": "", "i": "", "l": "\ufffd", "e": "", "q": `"}`, "absent": ""} {
		if got, err := o.Text(key, 3); got != want || err != nil {
			t.Errorf("%s: %q, error %v", key, got, err)
		}
	}
	if _, err := o.Text("a", 2); wire.ViolationCode(err) != wire.CodeLength {
		t.Errorf("error %v", err)
	}
	for key, want := range map[string]bool{"a": true, "n": false, "i": true, "absent": false} {
		if o.Has(key) != want {
			t.Errorf("Has(%s) = %v", key, !want)
		}
	}
}

// Bar S15
func TestObjectRefusesAbuse(t *testing.T) {
	million := strings.Repeat(`"a":1,`, wire.MaxJSON/6-1)
	for _, test := range []struct{ name, text, code string }{
		{"nothing", "", wire.CodeJSON},
		{"white space", "  ", wire.CodeJSON},
		{"an array", "[]", wire.CodeJSON},
		{"a number", "5", wire.CodeJSON},
		{"no end", `{"a":1`, wire.CodeJSON},
		{"something behind", `{"a":1}x`, wire.CodeJSON},
		{"two objects", `{}{}`, wire.CodeJSON},
		{"a trailing comma", `{"a":1,}`, wire.CodeJSON},
		{"not UTF-8", "{\"a\":\"\xff\"}", wire.CodeJSON},
		{"a raw NUL", "{\"a\":\"\x00\"}", wire.CodeJSON},
		{"an escaped NUL", `{"a":"\u0000"}`, ""},
		{"a lone surrogate", `{"a":"\udc00"}`, ""},
		{"a huge exponent", `{"a":1e999}`, ""},
		{"a huge number", `{"a":` + strings.Repeat("9", 60000) + `}`, ""},
		{"depth at the limit", nested(wire.MaxJSONDepth), ""},
		{"depth above the limit", nested(wire.MaxJSONDepth + 1), wire.CodeJSON},
		{"depth ten thousand", nested(10000), wire.CodeJSON},
		{"only openings", strings.Repeat("[", wire.MaxJSON), wire.CodeJSON},
		{"only closings", strings.Repeat("]", wire.MaxJSON), wire.CodeJSON},
		{"brackets in a string", `{"a":"` + strings.Repeat(`[\"`, 1000) + `"}`, ""},
		{"keys up to the size limit", "{" + million + `"a":1}`, ""},
		{"size at the limit", `{"a":"` + strings.Repeat("x", wire.MaxJSON-8) + `"}`, ""},
		{"size above the limit", `{"a":"` + strings.Repeat("x", wire.MaxJSON-7) + `"}`, wire.CodeLength},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := wire.ParseObject([]byte(test.text))
			if code := wire.ViolationCode(err); code != test.code || (err != nil) != (code != "") {
				t.Errorf("error %v, want code %q", err, test.code)
			}
			wiretest.CheckAllocation(t, len(test.text), func() {
				if o, err := wire.ParseObject([]byte(test.text)); err == nil {
					o.Int64("a")
					_, _ = o.Text("a", wire.MaxJSON)
				}
			})
		})
	}
}

func nested(depth int) string {
	return `{"a":` + strings.Repeat("[", depth-1) + strings.Repeat("]", depth-1) + `}`
}

func TestAppendJSONTextLeavesHTMLAlone(t *testing.T) {
	if got := string(wire.AppendJSONText([]byte("x"), "a<&>\"\\\n\u2028я")); got != `x"a<&>\"\\\n\u2028я"` {
		t.Errorf("%s", got)
	}
}

// Bar S01
// Bar S15
func FuzzObject(f *testing.F) {
	for _, seed := range []string{
		`{"guid":-1234567890123456789,"payloadSize":19,"sendTime":1767225600123,"type":0}`,
		`{"a":{"b":[1,"}",{"c":"\\"}]},"a":null}`, ` { "a" : -1.5e3 , "" : [ ] } `, `{"a\u0062":"\ud83d\ude00"}`, `{}`,
	} {
		f.Add([]byte(seed), "a")
	}
	f.Fuzz(func(t *testing.T, b []byte, key string) {
		wiretest.CheckAllocationSampled(t, b, func() {
			if o, err := wire.ParseObject(b); err == nil {
				o.Int64(key)
				_, _ = o.Text(key, wire.MaxJSON)
			}
		})
		o, err := wire.ParseObject(b)
		if err != nil {
			if wire.ViolationCode(err) == "" {
				t.Errorf("no violation: %v", err)
			}
			return
		}
		// The standard decoder is the oracle; it too takes the last of equal keys.
		var want map[string]json.RawMessage
		if err := json.Unmarshal(b, &want); err != nil {
			t.Fatalf("accepted what does not parse: %v", err)
		}
		for k, raw := range want {
			number, err := strconv.ParseInt(string(raw), 10, 64)
			if err != nil {
				number = 0
			}
			if got := o.Int64(k); got != number {
				t.Errorf("%q: %d, want %d", k, got, number)
			}
			var text string
			_ = json.Unmarshal(raw, &text)
			if got, err := o.Text(k, len(b)); got != text && err == nil {
				t.Errorf("%q: %q, want %q", k, got, text)
			}
		}
		if _, ok := want[key]; !ok && o.Has(key) {
			t.Errorf("%q is not there", key)
		}
	})
}
