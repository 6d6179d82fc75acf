// SPDX-License-Identifier: MPL-2.0

// Package fault has what all parts of the bridge do with errors: describe one to a
// person without the secrets in it, tell a failing database from the rest, and turn a
// panic into an error. It uses no other package of the bridge, and all of them may use it.
package fault

import (
	"database/sql"
	"errors"
	"log/slog"
	"regexp"
	"strings"

	"modernc.org/sqlite"
)

// maxLine bounds what [OneLine] returns, in bytes.
const maxLine = 300

// urlToken matches an access token in an URL, such as the one in the error of a request.
var urlToken = regexp.MustCompile(`((?:access_token|openid_token|token)=)[^&\s"'<>]+`)

// HideTokens replaces the access tokens in the URLs of a text.
func HideTokens(text string) string { return urlToken.ReplaceAllString(text, "${1}<secret>") }

// OneLine returns the text of an error as one line of at most 300 bytes, without the
// access tokens of a request. It is for logs, the status and messages to users.
func OneLine(err error) string {
	text := HideTokens(OneLineText(err.Error()))
	if len(text) > maxLine {
		text = strings.ToValidUTF8(text[:maxLine], "") + "…"
	}
	return text
}

// IsDatabaseError reports whether the bridge's own database failed. Such an error says
// nothing about the operation, which can be retried.
func IsDatabaseError(err error) bool {
	var failure *sqlite.Error
	return errors.As(err, &failure) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone)
}

// OneLineText replaces every run of white space in a text by one space.
func OneLineText(text string) string { return strings.Join(strings.Fields(text), " ") }

// RetryLevel is the level at which the failure of an attempt is logged: the first one,
// numbered 0, warns.
func RetryLevel(try int) slog.Level {
	if try == 0 {
		return slog.LevelWarn
	}
	return slog.LevelDebug
}
