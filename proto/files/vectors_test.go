// SPDX-License-Identifier: MPL-2.0

package files_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"io"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/proto/files"
	"github.com/mimird/mimird/proto/wire/wiretest"
)

type check = func(*testing.T, wiretest.Vector)

// Bar S26
func TestVectors(t *testing.T) {
	checks := map[string]check{
		"nonce-0":   nil, // in crypt_test.go
		"nonce-258": nil,
		"upload": request(func(v wiretest.Vector) files.Request {
			return files.Upload{
				Hash: v.Key("hash"), GUID: v.Int("guid"), Offset: uint64(v.Int("offset")), Total: uint64(v.Int("total")), Data: v.Hex("chunk"),
			}
		}),
		"download": request(func(v wiretest.Vector) files.Request {
			return files.Download{Hash: v.Key("hash"), GUID: v.Int("guid"), Offset: uint64(v.Int("offset"))}
		}),
		"file-info": request(func(v wiretest.Vector) files.Request { return files.FileInfo{Hash: v.Key("hash")} }),
		"download-response": func(t *testing.T, v wiretest.Vector) {
			want := files.Chunk{Offset: uint64(v.Int("offset")), Total: uint64(v.Int("total")), Data: v.Hex("chunk")}
			equal(t, want.AppendTo(nil, id(v)), v.OutputHex())
			got, err := response(t, v).Chunk()
			if diff := cmp.Diff(want, got); diff != "" || err != nil {
				t.Errorf("%v\n%s", err, diff)
			}
		},
		"file-info-response": func(t *testing.T, v wiretest.Vector) {
			want := files.Info{Total: uint64(v.Int("total")), GUID: v.Int("guid")}
			equal(t, want.AppendTo(nil, id(v)), v.OutputHex())
			if got, err := response(t, v).Info(); got != want || err != nil {
				t.Errorf("%+v, %v", got, err)
			}
		},
		"error-response": func(t *testing.T, v wiretest.Vector) {
			equal(t, files.AppendError(nil, id(v), v.Text("text")), v.OutputHex())
			refused, ok := errors.AsType[*files.ServerError](response(t, v).Err())
			if !ok || refused.Text != v.Text("text") {
				t.Errorf("%v", refused)
			}
		},
	}
	for _, size := range []string{"1", "5", "65536", "1048576", "1048577", "2097155"} {
		checks["encrypt-"+size] = encryption
	}
	for name, f := range checks {
		if f == nil {
			checks[name] = func(*testing.T, wiretest.Vector) {}
		}
	}
	wiretest.Run(t, vectors, checks)
}

func id(v wiretest.Vector) uint16 { return uint16(v.Int("req_id")) }

func equal(t *testing.T, got, want []byte) {
	t.Helper()
	if !bytes.Equal(got, want) {
		t.Errorf("got  %x\nwant %x", got, want)
	}
}

func request(make func(wiretest.Vector) files.Request) check {
	return func(t *testing.T, v wiretest.Vector) {
		want := make(v)
		equal(t, want.AppendTo(nil, id(v)), v.OutputHex())
		call, err := files.ReadCall(buffered(v.OutputHex()))
		if err != nil || call.ID != id(v) || call.Command != want.Command() {
			t.Fatalf("%+v, %v", call, err)
		}
		got, err := call.Parse()
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%v\n%s", err, diff)
		}
	}
}

func response(t *testing.T, v wiretest.Vector) files.Response {
	t.Helper()
	r, err := files.ReadResponse(buffered(v.OutputHex()))
	if err != nil || r.ID != id(v) {
		t.Fatalf("%+v, %v", r, err)
	}
	return r
}

// pattern is the plaintext of the vectors.
func pattern(n int64) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(7*i + i>>8)
	}
	return b
}

func encryption(t *testing.T, v wiretest.Vector) {
	var want struct {
		Size int64  `json:"encrypted_size"`
		Hash string `json:"file_hash"`
	}
	v.DecodeOutput(&want)
	plain := pattern(v.Int("plaintext_size"))
	if sha256.Sum256(plain) != v.Key("plaintext_sha256") {
		t.Fatal("not the plaintext of the vector")
	}
	sealed, err := io.ReadAll(files.NewSealer(v.Key("key"), bytes.NewReader(plain), 0))
	if err != nil {
		t.Fatal(err)
	}
	if got := files.Hash(sha256.Sum256(sealed)); got.String() != want.Hash || int64(len(sealed)) != want.Size {
		t.Errorf("%d bytes with hash %s, want %d with %s", len(sealed), got, want.Size, want.Hash)
	}
	if files.SealedSize(int64(len(plain))) != want.Size {
		t.Errorf("SealedSize is %d", files.SealedSize(int64(len(plain))))
	}
	if n, ok := files.PlainSize(want.Size); n != int64(len(plain)) || !ok {
		t.Errorf("PlainSize is %d, %v", n, ok)
	}
	opened, err := io.ReadAll(files.NewOpener(v.Key("key"), bytes.NewReader(sealed)))
	if err != nil || !bytes.Equal(opened, plain) {
		t.Errorf("%d bytes, %v", len(opened), err)
	}
}
