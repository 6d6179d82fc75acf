// SPDX-License-Identifier: MPL-2.0

// Package fixed is the protocol of mediators in its fixed layout, both directions:
// what apps and mediator of gen2 spoke from 6 to 15 November 2025. Package
// mediator is the protocol of today. Package group encrypts what both carry.
//
// A client opens a QUIC stream to the mediator's node key and sends [SelectorClient].
// Then come requests, and answers and pushes the other way. All numbers are
// big-endian.
//
//	offset  size  field of a request
//	0       1     version = 1
//	1       ..    a frame of servers (see package wire), with the command
//
//	offset  size  field of an answer, and of a push
//	0       ..    a frame of servers, with the status
//
// A push has the status 0 and its [PushCode] in the place of the id. Fields follow
// each other without tags. A text has a length of two bytes, a blob one of four;
// "chat", "message" and "invite" are ids of eight bytes, "guid" is the sender's id of
// a message, "time" is in Unix seconds and has eight bytes, a key has 32. Who reads
// ignores what follows the last field.
//
//	01 GET_NONCE           key                                          -> nonce 32
//	02 AUTH                key, nonce, signature of the nonce           -> nothing
//	03 PING                                                             -> nothing
//	10 CREATE_CHAT         key, nonce, counter 4, signature,
//	                       text name, text description, blob avatar     -> chat
//	11 DELETE_CHAT         chat                                         -> 01
//	20 ADD_USER            chat, key                                    -> nothing
//	21 DELETE_USER         chat, key                                    -> nothing
//	22 LEAVE_CHAT          chat                                         -> nothing
//	23 GET_USER_CHATS                                                   -> count 4, chats
//	30 SEND_MESSAGE        chat, guid, blob                             -> message
//	31 DELETE_MESSAGE      chat, message                                -> nothing
//	33 GET_LAST_MESSAGE_ID chat                                         -> message
//	35 SUBSCRIBE           chat                                         -> message (the last one)
//	36 GET_MESSAGES_SINCE  chat, message, limit 4                       -> count 4, messages
//	40 SEND_INVITE         chat, key, blob                              -> nothing
//	42 INVITE_RESPONSE     invite, 0 or 1                               -> nothing
//	50 UPDATE_MEMBER_INFO  chat, time, blob                             -> nothing
//	52 GET_MEMBERS_INFO    chat, time                                   -> count 4, { key, blob, time }
//	53 GET_MEMBERS         chat                                         -> count 4, { key, permissions 1, online 1 }
//
//	32 GOT_MESSAGE          chat, message, guid, key of the author, blob
//	41 GOT_INVITE           invite, chat, key of the sender, time, text name, text description, blob avatar, blob
//	51 REQUEST_MEMBER_INFO  chat, time
//	54 GOT_MEMBER_INFO      count 4 = 1, { key, blob, time }; the chat is not named
//
// The mediator writes pushes beside answers without a lock, so the two can be mixed
// up on the stream: when [ReadAnswer] fails, a client connects again. Errors outside
// of any request (another version, a payload above 32 MiB, an unknown command) have
// the id 0 and end the stream.
//
// Facts are those of the Go mediator of November 2025 and of the app at aef232c.
// Builds of the first days had other codes: 32 fetched one message, and messages came
// as push 34. The node does not use this layout, which nobody speaks any more: the
// package reads what was recorded then, and has the commands, which the later
// layouts kept. It is pure: no clock, no socket. Start reading at request.go, then
// answer.go and push.go.
package fixed
