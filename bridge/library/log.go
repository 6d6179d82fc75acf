// SPDX-License-Identifier: MPL-2.0

package library

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"regexp"
	"strings"

	"github.com/rs/zerolog"

	"github.com/mimird/mimird/bridge/fault"
)

// loggedFields are the fields of bridgev2's log lines that our log has too. All others are
// dropped: among them are bodies of requests and contents of events, with the texts of
// messages.
var loggedFields = []string{
	"action", "attempt", "bridge_evt_type", "bridge_requires", "command", "component", "count", "db_section",
	"duration", "error", "event_id", "event_loop_index", "event_type", "existing_mxid", "expected_user_id",
	"from", "ghost_id", "got_user_id", "id", "invitee_id", "inviter_id", "latest_known_version", "login_id",
	"method", "new_membership", "portal_id", "portal_mxid", "portal_receiver", "remote_message_id",
	"remote_target_message_id", "req_id", "retry_in_seconds", "room_id", "section", "sender", "server_supports",
	"source_id", "stack", "status_code", "step", "subaction", "target_id", "target_user_id", "to",
	"transaction_id", "url", "user_id", "user_login_id", "user_mxid", "version",
}

const (
	// maxLogged and maxLoggedStack bound a logged value and a stack, in bytes.
	maxLogged      = 256
	maxLoggedStack = 8 << 10
)

// longKey matches a public key, of which the log has the first 8 digits.
var longKey = regexp.MustCompile(`([0-9a-f]{8})[0-9a-f]{56}`)

// NewLogger returns a logger for bridgev2 that writes lines of at least a level to log. It
// replaces secrets, access tokens and all but the beginning of keys.
func NewLogger(log *slog.Logger, least slog.Level, secrets []string) zerolog.Logger {
	var pairs []string
	for _, secret := range secrets {
		pairs = append(pairs, secret, "<secret>")
	}
	w := &libraryLog{log: log, least: least, replacer: strings.NewReplacer(pairs...)}
	level := zerolog.FatalLevel
	for l, z := range map[slog.Level]zerolog.Level{
		slog.LevelDebug: zerolog.DebugLevel, slog.LevelInfo: zerolog.InfoLevel, slog.LevelWarn: zerolog.WarnLevel,
	} {
		if w.enabled(l) {
			level = min(level, z)
		}
	}
	return zerolog.New(w).Level(level)
}

// libraryLog converts zerolog's lines into records. It is safe for concurrent use.
type libraryLog struct {
	log      *slog.Logger
	least    slog.Level
	replacer *strings.Replacer
}

var _ zerolog.LevelWriter = (*libraryLog)(nil)

func (w *libraryLog) enabled(level slog.Level) bool {
	return level >= w.least && w.log.Enabled(context.Background(), level)
}

// Write implements [io.Writer].
func (w *libraryLog) Write(line []byte) (int, error) {
	return w.WriteLevel(zerolog.NoLevel, line)
}

// WriteLevel implements [zerolog.LevelWriter].
func (w *libraryLog) WriteLevel(level zerolog.Level, line []byte) (int, error) {
	mapped := slog.LevelInfo
	switch level {
	case zerolog.TraceLevel, zerolog.DebugLevel:
		mapped = slog.LevelDebug
	case zerolog.WarnLevel, zerolog.ErrorLevel: // nobody has to act: the bridge retries
		mapped = slog.LevelWarn
	case zerolog.FatalLevel, zerolog.PanicLevel:
		mapped = slog.LevelError
	}
	if !w.enabled(mapped) {
		return len(line), nil
	}
	var fields map[string]any
	decoder := json.NewDecoder(bytes.NewReader(line))
	decoder.UseNumber()
	if err := decoder.Decode(&fields); err != nil {
		w.log.Warn("malformed log line of bridgev2", "err", err)
		return len(line), nil
	}
	text, _ := fields[zerolog.MessageFieldName].(string)
	attrs := []slog.Attr{slog.String("text", w.clean(text, maxLogged))}
	for _, key := range loggedFields {
		if value, ok := fields[key]; ok {
			if shown, ok := w.format(key, value); ok {
				if key == zerolog.ErrorFieldName {
					key = "err"
				}
				attrs = append(attrs, slog.String(key, shown))
			}
		}
	}
	w.log.LogAttrs(context.Background(), mapped, "bridgev2", attrs...)
	return len(line), nil
}

// format returns the value of a field as text, false if it may not be logged.
func (w *libraryLog) format(key string, value any) (string, bool) {
	switch v := value.(type) {
	case string:
		if key == zerolog.ErrorStackFieldName {
			return w.clean(v, maxLoggedStack), true
		}
		return w.clean(v, maxLogged), true
	case json.Number, bool:
		return fmt.Sprint(v), true
	default: // objects and lists may hold anything
		return "", false
	}
}

// clean removes secrets from a text and bounds its length in bytes.
func (w *libraryLog) clean(text string, most int) string {
	text = fault.HideTokens(longKey.ReplaceAllString(w.replacer.Replace(text), "$1"))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}
