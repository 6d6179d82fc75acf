// SPDX-License-Identifier: MPL-2.0

package appbackup

import (
	"archive/zip"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/mimird/mimird/proto/peer"
)

// databaseVersion is the version of the app's tables that are written.
const databaseVersion = 21

// tables are those of the app, SqlStorage version 21. android_metadata is what Android adds
// to each database.
var tables = []string{
	"CREATE TABLE android_metadata (locale TEXT)",
	"INSERT INTO android_metadata VALUES ('en_US')",
	"CREATE TABLE accounts (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT, privkey TEXT, pubkey TEXT, client INTEGER, info TEXT, avatar TEXT, updated INTEGER)",
	"CREATE TABLE contacts (id INTEGER PRIMARY KEY AUTOINCREMENT, pubkey BLOB, name TEXT, info TEXT, avatar TEXT, updated INTEGER, renamed BOOL, last_seen INTEGER, muted BOOL DEFAULT 0)",
	"CREATE TABLE ips (id INTEGER, client INTEGER, address TEXT, port INTEGER DEFAULT 5050, priority INTEGER DEFAULT 3, expiration INTEGER DEFAULT 3600)",
	"CREATE TABLE messages (id INTEGER PRIMARY KEY, contact INTEGER, guid INTEGER, replyTo INTEGER, incoming BOOL, delivered BOOL, read BOOL, time INTEGER, edit INTEGER, type INTEGER, message BLOB)",
	"CREATE TABLE group_chats (chat_id INTEGER PRIMARY KEY, name TEXT NOT NULL, description TEXT, avatar TEXT, mediator_pubkey BLOB NOT NULL, owner_pubkey BLOB NOT NULL, shared_key BLOB NOT NULL, created_at INTEGER NOT NULL, updated_at INTEGER NOT NULL, last_message_time INTEGER DEFAULT 0, last_msg_id INTEGER DEFAULT 0, unread_count INTEGER DEFAULT 0, muted BOOL DEFAULT 0, read_only BOOL DEFAULT 0)",
	"CREATE TABLE group_invites (id INTEGER PRIMARY KEY AUTOINCREMENT, chat_id INTEGER NOT NULL, from_pubkey BLOB NOT NULL, timestamp INTEGER NOT NULL, chat_name TEXT NOT NULL, chat_description TEXT, chat_avatar TEXT, encrypted_data BLOB NOT NULL, status INTEGER DEFAULT 0)",
	"CREATE TABLE drafts (chat_type INTEGER NOT NULL, chat_id INTEGER NOT NULL, text TEXT, media_uri TEXT, media_type INTEGER DEFAULT 0, timestamp INTEGER NOT NULL, PRIMARY KEY(chat_type, chat_id))",
	"CREATE TABLE contact_requests (id INTEGER PRIMARY KEY AUTOINCREMENT, pubkey BLOB NOT NULL, message TEXT, nickname TEXT, info TEXT, avatar TEXT, time INTEGER NOT NULL)",
	"PRAGMA user_version = " + strconv.Itoa(databaseVersion),
}

// Message is one message of the conversation with a contact.
type Message struct {
	GUID, ReplyTo int64
	// Incoming says that the contact wrote it; else Delivered, that the contact has it. The
	// app sends what it has not delivered.
	Incoming, Delivered bool
	Sent, Edited        time.Time
	Type                int32
	Payload             []byte
}

// Writer writes a backup that the app restores: the account, its contacts and groups, and
// what was said with and in them. It is for one goroutine, and blocks on the disk.
type Writer struct {
	dir     string
	db      *sql.DB
	tx      *sql.Tx
	archive *zip.Writer
	// files are names that are in the archive.
	files map[string]bool
}

// NewWriter begins a backup of an account, with which anybody can act as the account. The
// caller calls Close, also after an error.
func NewWriter(ctx context.Context, to io.Writer, account Backup) (_ *Writer, err error) {
	dir, err := os.MkdirTemp("", "mimird-app-backup-*") // mode 0700
	if err != nil {
		return nil, err
	}
	w := &Writer{dir: dir, archive: zip.NewWriter(to), files: make(map[string]bool)}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.discard())
		}
	}()
	if w.db, err = sql.Open("sqlite", filepath.Join(dir, databaseName)); err != nil {
		return nil, fmt.Errorf("create %s: %w", databaseName, err)
	}
	w.db.SetMaxOpenConns(1)
	for _, statement := range tables {
		if _, err := w.db.ExecContext(ctx, statement); err != nil {
			return nil, fmt.Errorf("create %s: %w", databaseName, err)
		}
	}
	if w.tx, err = w.db.BeginTx(ctx, nil); err != nil {
		return nil, fmt.Errorf("create %s: %w", databaseName, err)
	}
	picture, err := w.picture("account", account.Avatar)
	if err != nil {
		return nil, err
	}
	seed, public := account.Key.Seed(), account.Key.Public()
	// The app mixes the client id with that of the phone, so that it differs after a restore.
	_, err = w.tx.ExecContext(ctx, "INSERT INTO accounts (name, privkey, pubkey, client, info, avatar, updated) VALUES (?, ?, ?, 1, ?, ?, ?)",
		account.Name, seed[:], public[:], account.Info, picture, time.Now().Unix())
	if err != nil {
		return nil, fmt.Errorf("write account: %w", err)
	}
	return w, nil
}

// picture writes an avatar, and returns its name, "" when there is none that the app shows.
func (w *Writer) picture(name string, image []byte) (string, error) {
	ending, ok := map[string]string{"image/jpeg": ".jpg", "image/png": ".png", "image/webp": ".webp"}[http.DetectContentType(image)]
	if !ok {
		return "", nil
	}
	name += ending
	entry, err := w.archive.Create("avatars/" + name)
	if err == nil {
		_, err = entry.Write(image)
	}
	return name, err
}

// Contact adds a contact and returns its number for [Writer.Message].
func (w *Writer) Contact(ctx context.Context, c Contact, info string, avatar []byte) (number int64, err error) {
	picture, err := w.picture(fmt.Sprintf("contact%x", c.Key[:8]), avatar)
	if err != nil {
		return 0, err
	}
	result, err := w.tx.ExecContext(ctx, "INSERT INTO contacts (pubkey, name, info, avatar, updated, renamed, last_seen, muted) VALUES (?, ?, ?, ?, 0, ?, 0, ?)",
		c.Key[:], c.Name, info, picture, c.Renamed, c.Muted)
	if err != nil {
		return 0, fmt.Errorf("write contact: %w", err)
	}
	return result.LastInsertId()
}

// plainName is a name that means nothing but a file.
var plainName = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,99}$`)

// Message adds a message. file opens the file of a message that has one, and returns nil
// when there is none.
func (w *Writer) Message(ctx context.Context, contact int64, m Message, file func() (io.ReadCloser, error)) error {
	if readable, err := w.attach(&m, file); !readable || err != nil {
		return err
	}
	edited := int64(0)
	if !m.Edited.IsZero() {
		edited = m.Edited.UnixMilli()
	}
	_, err := w.tx.ExecContext(ctx, "INSERT INTO messages (contact, guid, replyTo, incoming, delivered, read, time, edit, type, message) VALUES (?, ?, ?, ?, ?, 1, ?, ?, ?, ?)",
		contact, m.GUID, m.ReplyTo, m.Incoming, m.Incoming || m.Delivered, m.Sent.UnixMilli(), edited, m.Type, m.Payload)
	if err != nil {
		return fmt.Errorf("write message: %w", err)
	}
	return nil
}

// attach adds the file of a message that has one, and puts its name in the archive into the
// payload. It returns false for a payload that the app cannot read either.
func (w *Writer) attach(m *Message, file func() (io.ReadCloser, error)) (readable bool, err error) {
	if t := peer.MessageType(m.Type); t != peer.TypeImage && t != peer.TypeFile {
		return true, nil
	}
	a, err := peer.ParseAttachment(m.Payload)
	if err != nil {
		return false, nil //nolint:nilerr // reported as not readable
	}
	a.Name = w.fileName(a.Name, m.GUID)
	if err := w.file(a.Name, file); err != nil {
		return false, err
	}
	m.Payload = a.AppendTo(nil)
	return true, nil
}

// fileName returns the name of a file among those of the app. Names come from others: one
// that is not plain, or in use, is replaced.
func (w *Writer) fileName(name string, guid int64) string {
	if !plainName.MatchString(name) {
		ending := strings.ToLower(filepath.Ext(name))
		if len(ending) > 10 || !plainName.MatchString("a"+ending) {
			ending = ""
		}
		name = fmt.Sprintf("%x%s", uint64(guid), ending) //nolint:gosec // only digits
	}
	for w.files[strings.ToLower(name)] {
		name = "x" + name
	}
	w.files[strings.ToLower(name)] = true
	return name
}

func (w *Writer) file(name string, open func() (io.ReadCloser, error)) (err error) {
	content, err := open()
	if err != nil || content == nil {
		return err
	}
	defer func() { err = errors.Join(err, content.Close()) }()
	// Pictures, sound and films are compressed already.
	entry, err := w.archive.CreateHeader(&zip.FileHeader{Name: "files/" + name, Method: zip.Store, Modified: time.Now()})
	if err == nil {
		_, err = io.Copy(entry, content)
	}
	return err
}

// Close writes the database and ends the archive.
func (w *Writer) Close() (err error) {
	if w.db == nil {
		return nil
	}
	defer func() { err = errors.Join(err, w.discard()) }()
	if err := errors.Join(w.tx.Commit(), w.db.Close()); err != nil {
		return fmt.Errorf("write %s: %w", databaseName, err)
	}
	w.db = nil
	f, err := os.Open(filepath.Join(w.dir, databaseName))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	entry, err := w.archive.Create(databaseName)
	if err == nil {
		_, err = io.Copy(entry, f)
	}
	return errors.Join(err, w.archive.Close())
}

// discard removes what is on the disk.
func (w *Writer) discard() error {
	var err error
	if w.db != nil {
		err = w.db.Close()
		w.db = nil
	}
	return errors.Join(err, os.RemoveAll(w.dir))
}
