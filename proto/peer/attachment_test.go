// SPDX-License-Identifier: MPL-2.0

package peer_test

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/peer"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

func payloadOf(tb testing.TB, name string) []byte {
	tb.Helper()
	for _, v := range wiretest.Load(tb, vectors) {
		if v.Name == name {
			return []byte(v.Text("payload"))
		}
	}
	tb.Fatalf("no vector %q", name)
	return nil
}

// Bar S26
func TestAttachmentMatchesTheVectors(t *testing.T) {
	server, err := identity.ParseNodeKey("2543b92ff1095511476adc8369db6ddc933665a11978dda1404ee1066ca9559d")
	if err != nil {
		t.Fatal(err)
	}
	image := peer.Attachment{
		Name: "AbCdEfGhIjKlMnOp.jpg", Size: 5, Hash: "a9d301f8ab7ddec0352fb553a7903a294f521af07890a03799c7e75edd5cbf9c",
		OriginalName: "cat.jpg", Text: "look", Key: bytes.Repeat([]byte("w"), 32), Server: server,
	}
	got, err := peer.ParseAttachment(payloadOf(t, "message-image"))
	if diff := cmp.Diff(image, got); diff != "" || err != nil {
		t.Errorf("error %v\n%s", err, diff)
	}
	if b := image.AppendTo(nil); !bytes.Equal(b, payloadOf(t, "message-image")) {
		t.Errorf("written as %s", b)
	}

	voice := image
	voice.Name, voice.OriginalName, voice.MIMEType, voice.Text = "AbCdEfGhIjKlMnOp.m4a", "voice_message.m4a", "audio/mp4", ""
	got, err = peer.ParseAttachment(payloadOf(t, "message-voice"))
	if diff := cmp.Diff(voice, got); diff != "" || err != nil {
		t.Errorf("error %v\n%s", err, diff)
	}
	// Android writes a slash as \/, which is the same.
	if b := voice.AppendTo(nil); string(b) != strings.ReplaceAll(string(payloadOf(t, "message-voice")), `\/`, "/") {
		t.Errorf("written as %s", b)
	}
	if !image.Downloadable() || image.DisplayText() != "look" || voice.DisplayText() != "voice_message.m4a" {
		t.Error("it does not show")
	}
}

func TestAttachmentReadsItsOlderForms(t *testing.T) {
	const request = `{"name":"a.txt","size":7,"hash":"2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"}`
	want := peer.Attachment{
		Form: peer.FormRequest, Name: "a.txt", Size: 7, Hash: "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824",
	}
	got, err := peer.ParseAttachment([]byte(request))
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("request form: error %v\n%s", err, diff)
	}
	if !got.Downloadable() || string(got.AppendTo(nil)) != strings.TrimSuffix(request, "}")+`,"text":""}` {
		t.Errorf("written as %s", got.AppendTo(nil))
	}

	want.Form, want.Data = peer.FormInline, []byte("{file}")
	got, err = peer.ParseAttachment(append(wire.AppendBlob(nil, request), "{file}"...))
	if diff := cmp.Diff(want, got); diff != "" || err != nil || !got.Downloadable() {
		t.Errorf("inline form: error %v\n%s", err, diff)
	}
}

func TestAttachmentIsReadLeniently(t *testing.T) {
	k := base64.StdEncoding.EncodeToString(make([]byte, 32))
	hash, server := strings.Repeat("0", 64), strings.Repeat("ab", 32)
	for _, test := range []struct {
		json         string
		downloadable bool
	}{
		{fmt.Sprintf(`{"name":"n","hash":"%s","key":"%s","server":"%s"}`, hash, k, server), true},
		{fmt.Sprintf(`{"name":"n","hash":"%s","key":"%s","server":"%s","size":-5}`, hash, k, strings.ToUpper(server)), true},
		{fmt.Sprintf(`{"name":"n","hash":"%s","key":"%s"}`, hash, k), false},
		{fmt.Sprintf(`{"name":"n","hash":"%s","key":"%s","server":"zz"}`, hash, k), false},
		{fmt.Sprintf(`{"name":"n","hash":"%s","key":"not base64","server":"%s"}`, hash, server), false},
		{fmt.Sprintf(`{"name":"n","hash":"%s","key":"","server":"%s"}`, hash, server), false},
		{fmt.Sprintf(`{"name":"n","hash":"%s","key":"%s","server":"%s"}`, hash, base64.StdEncoding.EncodeToString(make([]byte, 60)), server), false}, // a group's
		{fmt.Sprintf(`{"name":"n","key":"%s","server":"%s"}`, k, server), false},
		{fmt.Sprintf(`{"name":"n","hash":"%s","key":null}`, hash), true},
		{`{"name":"n"}`, false},
		{`{}`, false},
		{`{"name":5,"size":"5","hash":null,"text":[]}`, false},
	} {
		a, err := peer.ParseAttachment([]byte(test.json))
		if err != nil || a.Downloadable() != test.downloadable || a.Size != 0 {
			t.Errorf("%s: %+v, error %v", test.json, a, err)
		}
	}
	if (peer.Attachment{Form: 9}).Downloadable() || (peer.Attachment{}).DisplayText() != "" || (peer.Attachment{Name: "n"}).DisplayText() != "n" {
		t.Error("an empty attachment has something")
	}
}

// Bar S03
func TestAttachmentLimits(t *testing.T) {
	for _, test := range []struct {
		payload string
		code    string
	}{
		{``, wire.CodeJSON},
		{`{`, wire.CodeJSON},
		{`[{}]`, wire.CodeLength}, // reads as a length
		{"\x00\x00", wire.CodeTruncated},
		{"\x00\x00\x00\x09{}", wire.CodeTruncated},
		{"\x00\x00\x00\x02[]", wire.CodeJSON},
		{"\x00\x00\x00\x02{}", ""},
		{"\x00\x01\x00\x01" + strings.Repeat(" ", 1<<17), wire.CodeLength},
		{"\xff\xff\xff\xff{}", wire.CodeLength},
		{`{"name":"` + strings.Repeat("n", wire.MaxFileName) + `"}`, ""},
		{`{"name":"` + strings.Repeat("n", wire.MaxFileName+1) + `"}`, wire.CodeLength},
		{`{"originalName":"` + strings.Repeat("n", wire.MaxFileName+1) + `"}`, wire.CodeLength},
		{`{"hash":"` + strings.Repeat("n", wire.MaxHashText+1) + `"}`, wire.CodeLength},
		{`{"mimeType":"` + strings.Repeat("n", wire.MaxMIMEType+1) + `"}`, wire.CodeLength},
		{`{"key":"` + strings.Repeat("n", wire.MaxFileKey+1) + `"}`, wire.CodeLength},
		{`{"server":"` + strings.Repeat("n", 65) + `"}`, wire.CodeLength},
		{`{"text":"` + strings.Repeat("n", wire.MaxCaption) + `"}`, ""},
		{`{"text":"` + strings.Repeat("n", wire.MaxCaption+1) + `"}`, wire.CodeLength},
	} {
		if _, err := peer.ParseAttachment([]byte(test.payload)); wire.ViolationCode(err) != test.code || (err == nil) != (test.code == "") {
			t.Errorf("%.30q: error %v, want %q", test.payload, err, test.code)
		}
	}
}

func TestAttachmentFileName(t *testing.T) {
	for _, test := range []struct{ original, name, want string }{
		{"cat.jpg", "x.jpg", "cat.jpg"},
		{"", "AbCd.jpg", "AbCd.jpg"},
		{"", "", "file"},
		{"../../etc/passwd", "", "passwd"},
		{`C:\Windows\evil.exe`, "", "evil.exe"},
		{"/absolute", "", "absolute"},
		{"..", "", "file"},
		{"a/..", "n", "n"},
		{"...", "", "file"},
		{"dir/", "n.txt", "n.txt"},
		{".hidden", "", "hidden"},
		{" . x.txt . ", "", "x.txt"},
		{"a\x00b\nc.txt", "", "abc.txt"},
		{"photo\u202egpj.exe", "", "photogpj.exe"},
		{`a<b>c:d"e|f?g*h`, "", "a_b_c_d_e_f_g_h"},
		{"CON", "", "_CON"},
		{"con.txt", "", "_con.txt"},
		{"lpt1.", "", "_lpt1"},
		{"com12", "", "com12"},
		{"консоль.txt", "", "консоль.txt"},
		{strings.Repeat("a", 128), "", strings.Repeat("a", 128)},
		{strings.Repeat("a", 4096) + ".jpeg", "", strings.Repeat("a", 123) + ".jpeg"},
		{strings.Repeat("я", 100) + ".jpeg", "", strings.Repeat("я", 61) + ".jpeg"},
		{strings.Repeat("a", 200) + "." + strings.Repeat("b", 50), "", strings.Repeat("a", 128)},
	} {
		if got := (peer.Attachment{OriginalName: test.original, Name: test.name}).FileName(); got != test.want {
			t.Errorf("%.40q: %q, want %q", test.original, got, test.want)
		}
	}
}

// Bar S01
func FuzzAttachment(f *testing.F) {
	f.Add(payloadOf(f, "message-image"))
	f.Add(payloadOf(f, "message-voice"))
	f.Add(payloadOf(f, "message-reaction"))
	f.Add(append(wire.AppendBlob(nil, `{"name":"../x","size":3,"hash":"00"}`), "abc"...))
	f.Add([]byte(`{"name":"\u0000/..\\COM1 .","originalName":"\u202e.."}`))
	f.Fuzz(func(t *testing.T, payload []byte) {
		wiretest.CheckAllocationSampled(t, payload, func() {
			_, _ = peer.ParseAttachment(payload)
			_, _ = peer.ParseReaction(payload)
		})
		if x, err := peer.ParseReaction(payload); !checkDecodeError(t, err) {
			if again, err := peer.ParseReaction(x.AppendTo(nil)); again != x || err != nil {
				t.Errorf("%+v reads as %+v, error %v", x, again, err)
			}
		}
		a, err := peer.ParseAttachment(payload)
		if checkDecodeError(t, err) {
			return
		}
		checkFileName(t, a.FileName())
		if a.Form == peer.FormInline || a.Form == peer.FormServer && a.Key == nil {
			return // never written
		}
		again, err := peer.ParseAttachment(a.AppendTo(nil))
		if diff := cmp.Diff(a, again); diff != "" || err != nil {
			t.Errorf("error %v\n%s", err, diff)
		}
	})
}

func checkFileName(t *testing.T, name string) {
	t.Helper()
	if name == "" || len(name) > 140 || !utf8.ValidString(name) || strings.ContainsAny(name, `/\:*?"<>|`) ||
		strings.ContainsFunc(name, unicode.IsControl) || strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
		t.Errorf("file name %q", name)
	}
}
