// SPDX-License-Identifier: MPL-2.0

package wire_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/mimird/mimird/proto/wire"
)

func TestViolationIsFoundInAChain(t *testing.T) {
	err := fmt.Errorf("read hello: %w", wire.NewViolation(wire.CodeLength, "key: %d", 31))
	var v *wire.Violation
	if !errors.As(err, &v) || v.Code != wire.CodeLength || v.Detail != "key: 31" {
		t.Fatalf("found %+v in %v", v, err)
	}
	if got := wire.ViolationCode(err); got != wire.CodeLength {
		t.Errorf("code %q", got)
	}
	if got := wire.ViolationCode(io.ErrUnexpectedEOF); got != "" {
		t.Errorf("a broken connection has the code %q", got)
	}
	if want := "read hello: protocol violation (length): key: 31"; err.Error() != want {
		t.Errorf("text %q, want %q", err, want)
	}
}

func TestViolationBoundsItsDetail(t *testing.T) {
	v := wire.NewViolation(wire.CodeText, "%s", strings.Repeat("x", 1000))
	if len(v.Detail) > 160 {
		t.Errorf("detail of %d bytes", len(v.Detail))
	}
}

func TestCodesAreDistinctMetricLabels(t *testing.T) {
	codes := wire.Codes()
	for _, code := range codes {
		if strings.Trim(code, "abcdefghijklmnopqrstuvwxyz_") != "" {
			t.Errorf("code %q is not a label", code)
		}
	}
	slices.Sort(codes)
	if len(slices.Compact(codes)) != len(wire.Codes()) {
		t.Error("codes repeat")
	}
}
