// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.mau.fi/util/retryafter"
	"maunium.net/go/mautrix"
)

// answerKind says what a failed request means for what was requested.
type answerKind uint8

const (
	// answerNone is an error in which the homeserver had no part, such as one of our
	// own database. It is retried.
	answerNone answerKind = iota
	// answerAway is no answer, or one that asks to come back later. It is retried.
	answerAway
	// answerDone means that the room has what was sent.
	answerDone
	// answerRefused means that the homeserver never accepts this content. A notice
	// replaces it.
	answerRefused
	// answerDoubtful can be about the content, the room or the whole homeserver.
	// [delivery.unit] tests which.
	answerDoubtful
	// answerRoom means that the room, or our membership in it, is not what our tables
	// say. The conversation is parked until the room is repaired.
	answerRoom
)

func (k answerKind) String() string {
	return [...]string{"none", "away", "done", "refused", "doubtful", "room"}[k]
}

// answerCodes has the error codes of Matrix that leave no doubt. All others, and all
// answers without a code, are doubtful: a proxy, a spam filter or a full disk
// answered.
var answerCodes = map[string]answerKind{
	mautrix.MTooLarge.ErrCode:      answerRefused,
	mautrix.MBadJSON.ErrCode:       answerRefused,
	mautrix.MNotJSON.ErrCode:       answerRefused,
	mautrix.MInvalidParam.ErrCode:  answerRefused,
	mautrix.MLimitExceeded.ErrCode: answerAway,
	"M_DUPLICATE_ANNOTATION":       answerDone,
}

var (
	// errRefused marks content that no retry makes acceptable: the homeserver refuses
	// it, or the conversion failed.
	errRefused = errors.New("cannot be shown in Matrix")
	// errRoom marks a room, or our membership in it, that is not what our tables say.
	errRoom = errors.New("the room does not accept what the bridge sends")
	// errLook marks a failed change of a name or a picture. No message waits for it.
	errLook = errors.New("the name or picture was not changed")
	// errSearch marks a failed search of a room for what it may have already: nothing was
	// sent yet.
	errSearch = errors.New("search the room")
	// errUnreadable marks what could not be handled because the bridge's database cannot
	// be read. It is retried, for as long as it takes.
	errUnreadable = errors.New("the bridge's database cannot be read")
	// errNoEncryption marks an encrypted room of a bridge that cannot encrypt.
	errNoEncryption = errors.New("the room is encrypted, and the bridge does not encrypt")
)

// kindOf classifies an error of a request. Errors that do not come from a request are
// answerNone, unless they are marked.
func kindOf(err error) answerKind {
	var failure mautrix.HTTPError
	switch wait := (*retryAfter)(nil); {
	case err == nil:
		return answerNone
	case errors.As(err, &wait):
		return answerAway
	case errors.Is(err, errRoom), errors.Is(err, errNoEncryption), errors.Is(err, errPlaintext):
		return answerRoom
	case errors.Is(err, errRefused):
		return answerRefused
	case !errors.As(err, &failure):
		return answerNone
	case failure.Response == nil:
		return answerAway
	case failure.Response.StatusCode == http.StatusTooManyRequests:
		return answerAway
	}
	if failure.RespError != nil {
		if kind, known := answerCodes[failure.RespError.ErrCode]; known {
			return kind
		}
	}
	return answerDoubtful
}

// isServerFault reports whether the homeserver, or the proxy before it, failed while
// it handled a request, so that nothing is known of the request itself.
func isServerFault(err error) bool {
	var failure mautrix.HTTPError
	return errors.As(err, &failure) && failure.Response != nil && failure.Response.StatusCode >= http.StatusInternalServerError
}

// classify adds to an error of the library when the homeserver wants the request to
// be repeated.
func classify(err error) error {
	var failure mautrix.HTTPError
	if err == nil || !errors.As(err, &failure) || failure.Response == nil || failure.Response.StatusCode < http.StatusBadRequest {
		return err
	}
	if header := failure.Response.Header.Get("Retry-After"); header != "" {
		return &retryAfter{delay: retryafter.Parse(header, 0), err: err}
	}
	if failure.RespError != nil { // homeservers before version 1.10 of the specification
		if ms, ok := failure.RespError.ExtraData["retry_after_ms"].(float64); ok && ms > 0 {
			return &retryAfter{delay: time.Duration(min(ms, float64(maxRetryAfter.Milliseconds()))) * time.Millisecond, err: err}
		}
	}
	return err
}

// roomError marks an error without which there would be a room to send to.
func roomError(what string, err error) error {
	switch kindOf(err) {
	case answerNone, answerAway:
		return fmt.Errorf("%s: %w", what, err)
	default:
		return fmt.Errorf("%s: %w: %w", what, errRoom, err)
	}
}

// retryAfter is an error with the time after which the homeserver wants the request
// to be repeated.
type retryAfter struct {
	delay time.Duration
	err   error
}

func (e *retryAfter) Error() string { return e.err.Error() }
func (e *retryAfter) Unwrap() error { return e.err }

// maxRetryAfter is the longest wait that a homeserver can impose.
const maxRetryAfter = 15 * time.Minute

// isFinal reports whether the homeserver has refused a request for good: with an
// answer that another attempt would not change.
func isFinal(err error) bool {
	var failure mautrix.HTTPError
	if !errors.As(err, &failure) || failure.Response == nil {
		return false
	}
	switch code := failure.Response.StatusCode; code {
	case http.StatusRequestTimeout, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	default:
		return code >= http.StatusBadRequest && code < http.StatusInternalServerError
	}
}
