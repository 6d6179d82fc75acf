// SPDX-License-Identifier: MPL-2.0

package files_test

import (
	"bufio"
	"bytes"
	_ "embed"
	"testing"

	"go.uber.org/goleak"
)

//go:embed testdata/files.json
var vectors []byte

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func buffered(b []byte) *bufio.Reader { return bufio.NewReader(bytes.NewReader(b)) }
