// SPDX-License-Identifier: MPL-2.0

// Package appbackup reads what matters of the backup that the Mimir app for
// Android makes: the identity with its profile, the contacts, and the groups with
// their keys ([Read]); messages stay where they are, and those of groups come from the
// mediator. It writes such a backup with the contacts and groups, what was said there and
// the files ([Writer]). The commands of mimird account use it.
//
// # Format
//
// As the app writes it since April 2026 (BackupActivity, SqlStorage version 21). The
// archive is a ZIP file without a password; anyone who has it can act as that account.
//
//	entry               content
//	data.db             the app's SQLite database, after a checkpoint of its log
//	avatars/NAME        pictures of the account and of contacts, as files
//	avatars_CHAT/NAME   pictures of the members of a group
//	files/NAME          received files
//	shared_prefs/NAME   settings of the app, XML
//
// Of the database:
//
//	accounts   id, name, privkey (32 bytes: the Ed25519 seed), pubkey (32 bytes),
//	           client (the 2.x app's client id), info, avatar (a name below avatars/),
//	           updated (seconds)
//	contacts   pubkey (32 bytes), name, renamed (by the user), muted, ...
//	messages   contact (its id), guid, replyTo (a guid, 0 for none), incoming, delivered
//	           (what is not is sent), read, time and edit (milliseconds), type, message
//	           (the payload; of a file its JSON, whose name is one below files/)
//
//	group_chats  chat_id, name, mediator_pubkey (32 bytes), shared_key (32 bytes: the key
//	           of the group), last_msg_id (the number, as the mediator counts, of the last
//	           message that the app has: it asks for those after it), muted, ...; missing in
//	           the first versions
//	members_CHAT   a table for each group: id, pubkey (as hex), nickname, permissions (those
//	           of the wire), gone, ...
//	messages_CHAT  a table for each group, shown in the order of the rows: guid, senderId (a
//	           row of members_CHAT, -1 for the mediator), type (1000 for what the mediator
//	           reports), data (the payload after decryption), timestamp (milliseconds), ...
//
// Databases of the first versions have keys as hex; both are read. The app uses
// one account, the first.
//
// The database says that it has a write-ahead log, although that is empty and not
// in the archive. It is read from a copy in a private directory, which is removed
// afterwards; in the copy the two bytes that say so are changed, so that SQLite does
// not look for a log.
package appbackup
