// SPDX-License-Identifier: MPL-2.0

package homeserver

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"go.mau.fi/util/retryafter"
	"maunium.net/go/mautrix"
)

// Answer is what a failed request says about what was requested.
type Answer uint8

const (
	// AnswerNone is an error in which the homeserver had no part, such as one of the
	// bridge's own database. The request is retried.
	AnswerNone Answer = iota
	// AnswerAway means that no answer came, or one that asks for a pause. The request is
	// retried.
	AnswerAway
	// AnswerDone means that the room has what was sent.
	AnswerDone
	// AnswerRefused means that the homeserver never accepts this content. A notice
	// replaces it.
	AnswerRefused
	// AnswerDoubtful can be about the content, the room or the whole homeserver.
	// [delivery.unit] tests which.
	AnswerDoubtful
	// AnswerRoom means that the room, or the membership of a sender in it, is not what the
	// tables say. Retries become rare until the room is repaired.
	AnswerRoom
)

// answerCodes has the error codes of Matrix that leave no doubt. All others, and all
// answers without a code, are doubtful: they can come from a proxy, a spam filter or a
// full disk.
var answerCodes = map[string]Answer{
	mautrix.MTooLarge.ErrCode:      AnswerRefused,
	mautrix.MBadJSON.ErrCode:       AnswerRefused,
	mautrix.MNotJSON.ErrCode:       AnswerRefused,
	mautrix.MInvalidParam.ErrCode:  AnswerRefused,
	mautrix.MLimitExceeded.ErrCode: AnswerAway,
	"M_DUPLICATE_ANNOTATION":       AnswerDone,
}

var (
	// errRefused marks content that no retry makes acceptable: the homeserver refuses
	// it, or the conversion failed.
	errRefused = errors.New("cannot be shown in Matrix")
	// ErrRoom marks a room, or a membership in it, that is not what the tables say.
	ErrRoom = errors.New("the room does not accept what the bridge sends")
	// ErrProfile marks a failed change of a name or a picture. Messages do not wait for it.
	ErrProfile = errors.New("the name or picture was not changed")
	// ErrSearch marks a failed search of a room for an event in doubt: nothing was sent
	// yet.
	ErrSearch = errors.New("search the room")
	// ErrDatabase marks what could not be handled because the bridge's database cannot
	// be read. It is retried, for as long as it takes.
	ErrDatabase = errors.New("the bridge's database cannot be read")
	// ErrRoomEncrypted marks an encrypted room of a bridge that cannot encrypt.
	ErrRoomEncrypted = errors.New("the room is encrypted, and the bridge does not encrypt")
)

// AnswerOf classifies an error of a request. An error that does not come from a request
// is AnswerNone, unless it is marked.
func AnswerOf(err error) Answer {
	var failure mautrix.HTTPError
	switch wait := (*RetryAfter)(nil); {
	case err == nil:
		return AnswerNone
	case errors.As(err, &wait):
		return AnswerAway
	case errors.Is(err, ErrRoom), errors.Is(err, ErrRoomEncrypted), errors.Is(err, ErrPlaintext):
		return AnswerRoom
	case errors.Is(err, errRefused):
		return AnswerRefused
	case !errors.As(err, &failure):
		return AnswerNone
	case failure.Response == nil:
		return AnswerAway
	case failure.Response.StatusCode == http.StatusTooManyRequests:
		return AnswerAway
	}
	if failure.RespError != nil {
		if kind, known := answerCodes[failure.RespError.ErrCode]; known {
			return kind
		}
	}
	return AnswerDoubtful
}

// IsServerFault reports whether the homeserver, or the proxy before it, failed while it
// handled a request (5xx), so that nothing is known of the request itself.
func IsServerFault(err error) bool {
	var failure mautrix.HTTPError
	return errors.As(err, &failure) && failure.Response != nil && failure.Response.StatusCode >= http.StatusInternalServerError
}

// WithRetryAfter makes a [RetryAfter] of an error of the library in whose answer the
// homeserver says when the request may be repeated, and returns others unchanged.
func WithRetryAfter(err error) error {
	var failure mautrix.HTTPError
	if err == nil || !errors.As(err, &failure) || failure.Response == nil || failure.Response.StatusCode < http.StatusBadRequest {
		return err
	}
	if header := failure.Response.Header.Get("Retry-After"); header != "" {
		return &RetryAfter{Delay: retryafter.Parse(header, 0), Err: err}
	}
	if failure.RespError != nil { // homeservers before version 1.10 of the specification
		if ms, ok := failure.RespError.ExtraData["retry_after_ms"].(float64); ok && ms > 0 {
			return &RetryAfter{Delay: time.Duration(min(ms, float64(MaxRetryAfter.Milliseconds()))) * time.Millisecond, Err: err}
		}
	}
	return err
}

// RoomError marks an error because of which there is no room to send to. what is what was
// being done.
func RoomError(what string, err error) error {
	switch AnswerOf(err) {
	case AnswerNone, AnswerAway:
		return fmt.Errorf("%s: %w", what, err)
	default:
		return fmt.Errorf("%s: %w: %w", what, ErrRoom, err)
	}
}

// RetryAfter is an error of a request that the homeserver wants to be repeated after
// Delay, not before.
type RetryAfter struct {
	Delay time.Duration
	Err   error
}

func (e *RetryAfter) Error() string { return e.Err.Error() }
func (e *RetryAfter) Unwrap() error { return e.Err }

// MaxRetryAfter bounds the pause that a homeserver can impose.
const MaxRetryAfter = 15 * time.Minute

// IsFinal reports whether the homeserver has refused a request for good: with an
// answer that another attempt would not change.
func IsFinal(err error) bool {
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
