// SPDX-License-Identifier: MPL-2.0

// Package mediator is the protocol of mediators, the servers that keep Mimir's
// groups, both directions of it. Package group encrypts what they carry.
//
// A client opens a connection of the carrier "stream" to the mediator's node key, port
// [Port], and sends [Opening]. Then follow requests, and answers and pushes the other
// way. Numbers are big-endian.
//
//	offset  size  field of a request      of an answer        of a push
//	0       1     command                 status 00 or 01     status 02
//	1       2     request id              the same id         push code
//	3       4     length of the payload
//	7       ..    payload
//
// A payload consists of fields, each a tag, a length and a value (see package wire). A
// list is the field COUNT and then its records one after the other: a record begins at
// its first tag. The payload of status 01 is not made of fields but of a text (length
// of two bytes, UTF-8).
//
//	01 PUBKEY 32      11 MESSAGE_ID 8     20 CHAT_NAME     30 LIMIT 4       35 ACCEPTED 1
//	02 SIGNATURE 64   12 MESSAGE_GUID 8   21 CHAT_DESC     31 COUNT 4       36 LAST_UPDATE 8
//	03 NONCE 32       13 INVITE_ID 8      22 CHAT_AVATAR   32 TIMESTAMP 8   37 LAST_SEEN 8
//	04 COUNTER 4      14 SINCE_ID 8       23 MESSAGE_BLOB  33 PERMS 1
//	10 CHAT_ID 8      15 USER_PUBKEY 32   24 MEMBER_INFO   34 ONLINE 1
//	                                      25 INVITE_DATA
//
//	01 GET_NONCE            PUBKEY                                -> NONCE
//	02 AUTH                 PUBKEY, NONCE, SIGNATURE              -> nothing
//	03 PING                                                       -> nothing
//	10 CREATE_CHAT          PUBKEY, NONCE, COUNTER, SIGNATURE,
//	                        CHAT_NAME, CHAT_DESC, [CHAT_AVATAR]   -> CHAT_ID
//	11 DELETE_CHAT          CHAT_ID                               -> one byte 01, not a field
//	12 UPDATE_CHAT_INFO     CHAT_ID, [CHAT_NAME], [CHAT_DESC],
//	                        [CHAT_AVATAR]                         -> nothing
//	20 ADD_USER             CHAT_ID, USER_PUBKEY                  -> nothing
//	21 DELETE_USER          CHAT_ID, USER_PUBKEY                  -> nothing
//	22 LEAVE_CHAT           CHAT_ID                               -> nothing
//	23 GET_USER_CHATS                                             -> COUNT, { CHAT_ID }
//	30 SEND_MESSAGE         CHAT_ID, MESSAGE_GUID, [TIMESTAMP],
//	                        [MESSAGE_BLOB]                        -> MESSAGE_GUID, MESSAGE_ID
//	31 DELETE_MESSAGE       CHAT_ID, MESSAGE_GUID                 -> nothing
//	33 GET_LAST_MESSAGE_ID  CHAT_ID                               -> MESSAGE_ID
//	35 SUBSCRIBE            CHAT_ID                               -> MESSAGE_ID
//	36 GET_MESSAGES_SINCE   CHAT_ID, SINCE_ID, LIMIT              -> COUNT, { MESSAGE_ID, MESSAGE_GUID,
//	                                                                 TIMESTAMP, PUBKEY, MESSAGE_BLOB }
//	40 SEND_INVITE          CHAT_ID, USER_PUBKEY, [INVITE_DATA]   -> nothing
//	42 INVITE_RESPONSE      INVITE_ID, ACCEPTED                   -> nothing
//	50 UPDATE_MEMBER_INFO   CHAT_ID, [MEMBER_INFO], TIMESTAMP     -> nothing
//	52 GET_MEMBERS_INFO     CHAT_ID, [LAST_UPDATE]                -> COUNT, { USER_PUBKEY, MEMBER_INFO, TIMESTAMP }
//	53 GET_MEMBERS          CHAT_ID                               -> COUNT, { USER_PUBKEY, PERMS, ONLINE, LAST_SEEN }
//	55 CHANGE_MEMBER_STATUS CHAT_ID, USER_PUBKEY, PERMS           -> nothing
//
//	32 GOT_MESSAGE          CHAT_ID, MESSAGE_ID, MESSAGE_GUID, TIMESTAMP, PUBKEY, MESSAGE_BLOB
//	41 GOT_INVITE           INVITE_ID, CHAT_ID, PUBKEY, TIMESTAMP, CHAT_NAME, CHAT_DESC, [CHAT_AVATAR], INVITE_DATA
//	51 REQUEST_MEMBER_INFO  CHAT_ID, LAST_UPDATE
//	54 GOT_MEMBER_INFO      CHAT_ID, COUNT = 1, { USER_PUBKEY, MEMBER_INFO, TIMESTAMP }
//
// Times are Unix seconds. The author of a system message is the mediator's key, see
// [System].
//
// The reference mediator is Mimir-IM/mimir-mediator 91292d8, the reference client
// Mimir-IM/mimir a31933f; the tests read what the two sent each other. Package fixed is
// the layout that came before. This package is pure: no clock, no socket. Start reading
// at request.go, then answer.go and push.go.
package mediator
