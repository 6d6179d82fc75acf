// SPDX-License-Identifier: MPL-2.0

package files_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

func TestLogin(t *testing.T) {
	key := identity.NewPrivateKey([32]byte{1})
	nonce := [32]byte{2}
	for _, q := range []files.Request{
		files.GetNonce{Identity: key.Public()},
		files.Auth{Identity: key.Public(), Nonce: nonce, Signature: identity.Signature{3}},
		files.Ping{},
	} {
		call, err := files.ReadCall(buffered(q.AppendTo(nil, 7)))
		if err != nil || call.ID != 7 {
			t.Fatal(call, err)
		}
		got, err := call.Parse()
		if diff := cmp.Diff(q, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
	r, err := files.ReadResponse(buffered(files.AppendNonce(nil, 9, nonce)))
	if err != nil || r.ID != 9 {
		t.Fatal(r, err)
	}
	if got, err := r.Nonce(); got != nonce || err != nil {
		t.Errorf("%x, %v", got, err)
	}
	if r, err = files.ReadResponse(buffered(files.AppendOK(nil, 10))); err != nil || r.Err() != nil || r.ID != 10 {
		t.Errorf("%+v, %v", r, err)
	}
}

// raw builds a request of any fields.
func raw(command files.Command, fields ...[]byte) []byte {
	payload := bytes.Join(fields, nil)
	b := []byte{byte(command), 0, 1}
	return append(binary.BigEndian.AppendUint32(b, uint32(len(payload))), payload...)
}

func field(tag byte, n int) []byte { return wire.AppendField(nil, tag, make([]byte, n)) }

// TestRefusals has the texts of the reference.
func TestRefusals(t *testing.T) {
	hash, guid, offset, total := field(0x40, 32), field(0x12, 8), field(0x41, 8), field(0x42, 8)
	for _, test := range []struct {
		request []byte
		want    string
	}{
		{raw(0x44), "unknown cmd"},
		{raw(files.CommandPing, []byte{1, 9}), "bad tlv payload"},
		{raw(files.CommandGetNonce), "missing or invalid pubkey"},
		{raw(files.CommandAuth, field(1, 32), field(3, 31)), "missing or invalid nonce"},
		{raw(files.CommandAuth, field(1, 32), field(3, 32)), "missing or invalid signature"},
		{raw(files.CommandUpload, guid), "missing or invalid file hash"},
		{raw(files.CommandUpload, hash), "missing or invalid message guid"},
		{raw(files.CommandUpload, hash, guid), "missing or invalid offset"},
		{raw(files.CommandUpload, hash, guid, offset), "missing or invalid total size"},
		{raw(files.CommandUpload, hash, guid, offset, total), "missing chunk data"},
		{raw(files.CommandUpload, hash, guid, offset, total, field(0x43, files.UploadChunk+1)), "chunk too large"},
		{raw(files.CommandUpload, total, offset, guid, hash, field(0x43, files.UploadChunk)), ""},
		{raw(files.CommandDownload, hash), "missing or invalid offset"},
		{raw(files.CommandFileInfo, field(0x40, 33)), "missing or invalid file hash"},
	} {
		call, err := files.ReadCall(buffered(test.request))
		if err != nil {
			t.Fatal(err)
		}
		_, err = call.Parse()
		refused, _ := errors.AsType[*files.RequestError](err)
		switch {
		case test.want == "" && err != nil, test.want != "" && (refused == nil || refused.Text != test.want):
			t.Errorf("%s %x: %v, want %q", call.Command, test.request[:min(len(test.request), 20)], err, test.want)
		}
	}
}

// TestDownloadLimits: absent, of another size and all ones mean the whole file; 0
// gets no answer.
func TestDownloadLimits(t *testing.T) {
	for limit, want := range map[string]uint32{"": 0, "\x00\x01": 0, "\xff\xff\xff\xff": 0, "\x00\x00\x00\x05": 5} {
		fields := [][]byte{field(0x40, 32), field(0x41, 8)}
		if limit != "" {
			fields = append(fields, wire.AppendField(nil, 0x30, []byte(limit)))
		}
		call, err := files.ReadCall(buffered(raw(files.CommandDownload, fields...)))
		if err != nil {
			t.Fatal(err)
		}
		if q, err := call.Parse(); err != nil || q.(files.Download).Limit != want {
			t.Errorf("limit %q: %+v, %v", limit, q, err)
		}
	}
	call, err := files.ReadCall(buffered(raw(files.CommandDownload, field(0x40, 32), field(0x41, 8), field(0x30, 4))))
	if err != nil {
		t.Fatal(err)
	}
	if q, err := call.Parse(); q != nil || err != nil {
		t.Errorf("limit 0: %+v, %v", q, err)
	}
}

// Bar S02
func TestLengths(t *testing.T) {
	header := func(n uint32) []byte { return binary.BigEndian.AppendUint32([]byte{3, 0, 1}, n) }
	for _, n := range []uint32{files.MaxRequest + 1, 1<<31 - 1, 1<<32 - 1} {
		if _, err := files.ReadCall(buffered(header(n))); wire.ViolationCode(err) != wire.CodeLength {
			t.Errorf("request of %d: %v", n, err)
		}
	}
	wiretest.CheckAllocation(t, 7, func() {
		if _, err := files.ReadCall(buffered(header(files.MaxRequest))); !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("request that ends early: %v", err)
		}
	})
	for _, n := range []uint32{files.DownloadChunk + 2<<10, 1<<32 - 1} {
		if _, err := files.ReadResponse(buffered(header(n))); wire.ViolationCode(err) != wire.CodeLength {
			t.Errorf("response of %d: %v", n, err)
		}
	}
	if _, err := files.ReadResponse(buffered([]byte{2, 0, 1, 0, 0, 0, 0})); wire.ViolationCode(err) != wire.CodeCommand {
		t.Errorf("a push: %v", err)
	}
	if _, err := files.ReadResponse(buffered(nil)); !errors.Is(err, io.EOF) {
		t.Errorf("nothing: %v", err)
	}
}

func TestChunkRefuses(t *testing.T) {
	answer := func(fields ...[]byte) files.Response {
		b := raw(0, fields...)
		r, err := files.ReadResponse(buffered(b))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	for name, r := range map[string]files.Response{
		"no data":   answer(field(0x42, 8), field(0x41, 8)),
		"no offset": answer(field(0x43, 1), field(0x42, 8)),
		"large":     answer(field(0x43, files.DownloadChunk+1), field(0x42, 8), field(0x41, 8)),
	} {
		if c, err := r.Chunk(); err == nil {
			t.Errorf("%s: %d bytes", name, len(c.Data))
		}
	}
}

// TestServerError_TextSanitized: the text of a server ends up in logs and rooms.
func TestServerError_TextSanitized(t *testing.T) {
	r, err := files.ReadResponse(buffered(files.AppendError(nil, 1, "no\n\x1b[31m"+strings.Repeat("x", 1000))))
	if err != nil {
		t.Fatal(err)
	}
	refused, ok := errors.AsType[*files.ServerError](r.Err())
	if !ok || len(refused.Text) > 256 || strings.ContainsAny(refused.Text, "\n\x1b") {
		t.Errorf("%q", refused.Text)
	}
}

// Bar S01
func FuzzReadCall(f *testing.F) {
	for _, v := range wiretest.Load(f, vectors) {
		for _, b := range v.HexStrings() {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		wiretest.CheckAllocationSampled(t, b, func() {
			call, err := files.ReadCall(buffered(b))
			if err != nil {
				return
			}
			q, err := call.Parse()
			if err != nil || q == nil {
				return
			}
			again, err := files.ReadCall(buffered(q.AppendTo(nil, call.ID)))
			if err != nil {
				t.Fatal(err)
			}
			if p, err := again.Parse(); err != nil || !cmp.Equal(p, q) {
				t.Errorf("%+v becomes %+v, %v", q, p, err)
			}
		})
	})
}

// Bar S01
func FuzzReadResponse(f *testing.F) {
	for _, v := range wiretest.Load(f, vectors) {
		for _, b := range v.HexStrings() {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		wiretest.CheckAllocationSampled(t, b, func() {
			r, err := files.ReadResponse(buffered(b))
			if err != nil {
				return
			}
			if c, err := r.Chunk(); err == nil && len(c.Data) > files.DownloadChunk {
				t.Errorf("chunk of %d bytes", len(c.Data))
			}
			_, _ = r.Info()
			_, _ = r.Nonce()
			_ = r.Err()
		})
	})
}

// Bar S01
func FuzzOpen(f *testing.F) {
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, b []byte) {
		plain, err := io.ReadAll(files.NewOpener(files.Key{1}, bytes.NewReader(b)))
		if err == nil && len(b) > 0 {
			t.Errorf("%d bytes decrypt to %d", len(b), len(plain))
		}
	})
}
