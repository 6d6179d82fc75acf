// SPDX-License-Identifier: MPL-2.0

package mediator

import (
	"strings"

	"github.com/mimird/mimird/proto/wire"
)

// The texts with which the reference refuses requests. Clients match on some of them,
// so a mediator uses these and no others. Texts of malformed requests come from
// [Call.Parse].
const (
	TextAuthRequired      = "auth required"
	TextNotAuthenticated  = "not authenticated" // CREATE_CHAT
	TextUnknownCommand    = "unknown cmd"
	TextBadPayload        = "bad tlv payload"
	TextDatabaseError     = "db error"
	TextUnknownNonce      = "unknown nonce"
	TextNonceMismatch     = "nonce mismatch" // AUTH
	TextInvalidSignature  = "invalid signature"
	TextInvalidPublicKey  = "invalid pubkey"
	TextKeysMismatch      = "keys mismatch"
	TextProofOfWork       = "signature filter failed"
	TextFieldTooLarge     = "field too large" // CREATE_CHAT
	TextNoSuchChat        = "no such chat"    // DELETE_CHAT
	TextNotOwner          = "not an owner"    // DELETE_CHAT
	TextNameTooLong       = "name too long"
	TextDescriptionLong   = "description too long"
	TextAvatarTooLarge    = "avatar too large"
	TextNoFields          = "no fields to update"
	TextNotMember         = "not a member"
	TextBanned            = "banned"
	TextNotMemberOrBanned = "not a member or banned" // also when only the role is too low
	TextPermissions       = "insufficient perms"
	TextOwnPermissions    = "cannot modify own permissions"
	TextTargetNotMember   = "target user not a member"
	TextOwnerPermissions  = "cannot modify owner permissions"
	TextPermissionFlags   = "invalid permission flags"
	TextReadOnly          = "read-only user"
	TextLimit             = "limit must be between 1 and 500"
	TextMessageNotFound   = "message not found"
	TextGUIDCollision     = "db error - guid collision limit exceeded"
	TextBannedUser        = "banned user"       // LEAVE_CHAT
	TextOwnerCannotLeave  = "owner can't leave" // LEAVE_CHAT
	TextUserInChat        = "user already in chat"
	TextInviteExists      = "invite already exists"
	TextInviteNotFound    = "invite not found"
	TextNotRecipient      = "not recipient of this invite"
)

// The texts with which our mediator refuses what the reference has no limit for. None has
// a word that clients match on.
const (
	TextGroupQuota      = "quota exceeded: the messages of this group take all of its space"
	TextMemberQuota     = "quota exceeded: your messages in this group take all of your space"
	TextOwnerQuota      = "quota exceeded: the groups of this owner take all of their space"
	TextMediatorQuota   = "quota exceeded: the mediator is full"
	TextTooManyMembers  = "quota exceeded: the group has too many members"
	TextTooManyGroups   = "quota exceeded: too many groups"
	TextTooManyInvites  = "quota exceeded: too many pending invites"
	TextMessageTooLarge = "message too large"
	TextNotPermitted    = "creating groups is restricted on this mediator"
	TextRefusedIdentity = "identity is refused by the operator of this mediator"
	TextBusy            = "mediator is busy, retry later"
)

// ServerError is the refusal of a mediator.
type ServerError struct {
	// Text is the mediator's text, cut and without control characters.
	Text string
}

// Error quotes the mediator.
func (e *ServerError) Error() string { return "refused by the mediator: " + e.Text }

// NotMember reports whether the text may say that the identity is not a member of the
// group, or is banned. It also comes when only the role is too low, and for a group
// that the mediator lost: confirm with [Subscribe] or [GetMembers]. The apps match on
// the same words.
func (e *ServerError) NotMember() bool { return e.mentions("not a member", "not member", "banned") }

// ReadOnly reports whether the identity may only read.
func (e *ServerError) ReadOnly() bool { return e.mentions(TextReadOnly) }

// NotFound reports whether a group, message or invite does not exist.
func (e *ServerError) NotFound() bool { return e.mentions("not found", TextNoSuchChat) }

// Already reports whether what was asked for is the case already.
func (e *ServerError) Already() bool { return e.mentions("already") }

// NonceReplaced reports whether a login failed because somebody else asked for a nonce
// of this identity in between: retry.
func (e *ServerError) NonceReplaced() bool { return e.mentions(TextUnknownNonce, TextNonceMismatch) }

func (e *ServerError) mentions(words ...string) bool {
	text := strings.ToLower(e.Text)
	for _, word := range words {
		if strings.Contains(text, word) {
			return true
		}
	}
	return false
}

// Parse parses the fields of a call. Blobs point into the call. The error is a
// *[ServerError] with the reference's text for the first mistake.
func (c Call) Parse() (Request, error) {
	empty := requests[c.Command]
	if empty == nil {
		return nil, &ServerError{TextUnknownCommand}
	}
	in, err := wire.ParseFields(c.payload)
	if err != nil {
		return nil, &ServerError{TextBadPayload}
	}
	f, q := &fields{in: in}, empty()
	if err := f.read(q); err != nil {
		return nil, &ServerError{f.refusal}
	}
	return q, nil
}
