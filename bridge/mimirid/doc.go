// SPDX-License-Identifier: MPL-2.0

// Package mimirid formats and parses the ids under which bridgev2 stores accounts,
// contacts and messages. Every id is the text of what it stands for, so that the bridge,
// and people who read its database, can parse it:
//
//	login     the account's public key           64 hex digits
//	user      an identity's public key           64 hex digits, also the ghost's user name
//	portal    <conversation>, of a contact with the login as its receiver
//	message   <conversation>/<message>[/<part>]   message as in store.MessageID
//	notice    <conversation>/n<event>[/<part>]    a notice of the bridge about an event
//	          <group>/n<account>.<event>[/<part>] the same in a group
//	          <group>/f<message>                  the file of a message does not come
//
// A group is the same for all accounts of the node that are in it, so its ids do not depend
// on the account: its portal has no receiver, and its messages always the direction "in".
//
// A conversation is the text of its store.ConversationID: the contact's public key, or
// "group-" and 64 hex digits for a group chat. It is part of message ids because bridgev2
// requires them to be unique within a login, and Mimir's are unique within a conversation.
// The ids are stored: they must not change. Every package of the bridge may use this one.
package mimirid
