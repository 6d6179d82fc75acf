// SPDX-License-Identifier: MPL-2.0

package library

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/mimird/mimird/bridge/fault"
)

// Bar S21: a token in the address of a failed request is in no log and no notice.
func TestNewLogger_TokensReplaced(t *testing.T) {
	const secret = "s3cr3t-t0ken"
	err := fmt.Errorf("request: %w", errors.New(`Get "https://example.org/_matrix/federation/v1/openid/userinfo?access_token=`+secret+`&x=y": refused`))
	if text := fault.OneLine(err); strings.Contains(text, secret) || !strings.Contains(text, "&x=y") {
		t.Errorf("the sentence is %q", text)
	}
	var log bytes.Buffer
	logger := NewLogger(slog.New(slog.NewTextHandler(&log, nil)), slog.LevelDebug, nil)
	logger.Warn().Err(err).Str("url", "https://example.org/?token="+secret).Msg("failed " + err.Error())
	if strings.Contains(log.String(), secret) || !strings.Contains(log.String(), "refused") {
		t.Errorf("the log has %s", log.String())
	}
}
