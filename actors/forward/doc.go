// SPDX-License-Identifier: MPL-2.0

// Package forward joins the node with the phone that has the same account. What the account
// receives here is queued once more for the phone, in the name of home, another account
// of this node, which is an ordinary contact of the phone. What the phone says to home is
// answered for the account: a message that quotes a forwarded one goes to the conversation
// that this one is of, and everything else to nobody, which the phone is told.
// docs/phone.md says who uses it and what they see.
//
// The account's actor starts one forwarder ([NewSpec]) when the record of the account says so, and
// tells it [Look] when its log has grown. It has two flows, each a consumer of the event log
// with a durable cursor: [Consumer] in the log of the account, [AnswerConsumer] in what home
// hears from the phone. Each message has the event's message in its source, and a guid that
// follows from the source: so nothing is queued twice, and the guid in a quote leads back to
// the message that was forwarded, for as long as the store knows the source of a message,
// which is for ever.
package forward
