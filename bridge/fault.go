// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"database/sql"
	"errors"
	"regexp"
	"strings"

	"modernc.org/sqlite"
)

// urlToken is an access token in an address, such as one in the error of a request.
var urlToken = regexp.MustCompile(`((?:access_token|openid_token|token)=)[^&\s"'<>]+`)

// hideTokens takes the access tokens out of the addresses in a text.
func hideTokens(text string) string { return urlToken.ReplaceAllString(text, "${1}<secret>") }

// oneLine makes a short sentence of an error, for people, without the tokens of a
// request.
func oneLine(err error) string {
	const most = 300
	text := hideTokens(strings.Join(strings.Fields(err.Error()), " "))
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// isDatabaseError reports whether an error is the bridge's own database failing,
// which is no property of what was to be done: that can be tried again.
func isDatabaseError(err error) bool {
	var failure *sqlite.Error
	return errors.As(err, &failure) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone)
}
