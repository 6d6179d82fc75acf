// SPDX-License-Identifier: MPL-2.0

package jsonlist_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/google/go-cmp/cmp"

	"github.com/mimird/mimird/actors/control/jsonlist"
)

type element struct {
	Name string   `json:"name"`
	More []string `json:"more,omitempty"`
}

func lists() [][]element {
	return [][]element{{}, {{Name: "<a>"}}, {{Name: "b"}, {Name: "c", More: []string{"x", "y]"}}, {}}}
}

func TestWriter_Indented_AsTheEncoder(t *testing.T) {
	for _, list := range lists() {
		var got, want bytes.Buffer
		w := jsonlist.NewWriter(&got, "  ")
		for _, e := range list {
			if err := w.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		encoder := json.NewEncoder(&want)
		encoder.SetIndent("", "  ")
		if err := errors.Join(w.Close(), encoder.Encode(list)); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want.String(), got.String()); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRead_WhatWasWritten_AndItsTruncations(t *testing.T) {
	for _, list := range lists() {
		var b bytes.Buffer
		w := jsonlist.NewWriter(&b, "")
		for _, e := range list {
			if err := w.Add(e); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		read := func(raw string) ([]element, error) {
			got := []element{}
			err := jsonlist.Read(iotest.OneByteReader(strings.NewReader(raw)), func(e element) error {
				got = append(got, e)
				return nil
			})
			return got, err
		}
		raw := b.String()
		got, err := read(raw)
		if diff := cmp.Diff(list, got); diff != "" || err != nil {
			t.Errorf("%s %v", diff, err)
		}
		for n := range len(strings.TrimSpace(raw)) {
			if got, err := read(raw[:n]); !errors.Is(err, io.ErrUnexpectedEOF) || len(got) > len(list) {
				t.Errorf("%d bytes of %q: %v, %v", n, raw, got, err)
			}
		}
	}
}

func TestRead_NotAnArray(t *testing.T) {
	for _, raw := range []string{`{"name": "a"}`, `7`, `"["`, `[{]`, `[7]`} {
		err := jsonlist.Read(strings.NewReader(raw), func(element) error { return nil })
		if err == nil || errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func TestRead_HandleFails_Ends(t *testing.T) {
	refused, n := errors.New("refused"), 0
	err := jsonlist.Read(strings.NewReader(`[{}, {}, {}]`), func(element) error {
		if n++; n == 2 {
			return refused
		}
		return nil
	})
	if !errors.Is(err, refused) || n != 2 {
		t.Error(n, err)
	}
}

// failing refuses every write after the first ones.
type failing struct{ left int }

func (f *failing) Write(b []byte) (int, error) {
	if f.left--; f.left < 0 {
		return 0, io.ErrClosedPipe
	}
	return len(b), nil
}

func TestWriter_Failure_IsReturned(t *testing.T) {
	w := jsonlist.NewWriter(&failing{1}, "")
	if err := w.Add(element{}); err != nil {
		t.Error(err)
	}
	if err := w.Add(make(chan int)); err == nil {
		t.Error("a channel was encoded")
	}
	if err := w.Add(element{}); !errors.Is(err, io.ErrClosedPipe) {
		t.Error(err)
	}
}
