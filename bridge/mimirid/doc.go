// SPDX-License-Identifier: MPL-2.0

// Package mimirid makes and reads the names under which bridgev2 keeps what is
// Mimir's. Every id is text made of what it stands for, so that it can be read
// back, by us and by people who look into the bridge's database:
//
//	login     the account's public key           64 hex digits
//	user      an identity's public key           64 hex digits, also the ghost's user name
//	portal    <conversation>, with the login as its receiver
//	message   <conversation>/<message>[/<part>]   message as in store.MessageID
//	notice    <conversation>/n<event>             something the bridge itself says
//
// A conversation is written as store.ConversationID does: that with a contact is the
// contact's public key, a group chat is "group-" and 64 hex digits.
//
// bridgev2 wants message ids to be unique among all conversations of a login,
// Mimir's are unique within one: that is why the conversation is in them.
package mimirid
