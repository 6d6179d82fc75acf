// SPDX-License-Identifier: MPL-2.0

package appbackup

import (
	"archive/zip"
	"context"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	_ "modernc.org/sqlite" // the driver

	"github.com/mimird/mimird/proto/identity"
	"github.com/mimird/mimird/proto/wire"
)

const (
	databaseName = "data.db"
	// maxDatabase bounds the copy of the database: it has texts only, files are beside
	// it. A hundred thousand messages have some 30 MiB.
	maxDatabase = 64 << 20
	// readTime bounds the reading of the database.
	readTime = time.Minute
	// maxContacts and maxGroups bound what is taken over.
	maxContacts = 100_000
	maxGroups   = 10_000
	// maxGroupName bounds the name of a group, in bytes; its mediator tells the whole one.
	maxGroupName = 100
	// walVersion is where a database says how it is written and read; journalMode is
	// the value for one without a write-ahead log.
	walVersion  = 18
	journalMode = 1
)

// ErrNotBackup says that a file is not a backup of the app.
var ErrNotBackup = errors.New("this is not a backup of the Mimir app")

// Backup is what is taken over.
type Backup struct {
	Key        identity.PrivateKey
	Name, Info string
	Avatar     []byte // an image file, nil for none
	Contacts   []Contact
	Groups     []Group
}

// Contact is one contact of the account.
type Contact struct {
	Key  identity.PublicKey
	Name string
	// Renamed says that the name is the user's own choice.
	Renamed bool
	Muted   bool
}

// Group is a group that the account is in.
type Group struct {
	Mediator identity.NodeKey
	Chat     int64
	// Key is the secret of the members.
	Key   [32]byte
	Name  string
	Muted bool
}

// The app moved the groups of its first mediator, which does not run any more, to another
// one when it was updated. A backup from before is read as the app would.
var (
	retiredMediator = mediatorKey("42a0b0da2d8b2fd9d8242c3ab3d316ebd4d3adedeeacf4b77d741d23fc9c6902")
	nextMediator    = mediatorKey("000096390fde19f30d3ba042d77f5f5ce0e6c23bd62ff0afc2e6c29a6fe96b33")
)

func mediatorKey(digits string) identity.NodeKey {
	key, err := key32([]byte(digits))
	if err != nil {
		panic(err) // a mistake above
	}
	return key
}

// Is reports whether a file begins like a backup. It reads a few bytes and moves
// nothing.
func Is(file io.ReaderAt) bool {
	var magic [4]byte
	_, err := file.ReadAt(magic[:], 0)
	return err == nil && string(magic[:]) == "PK\x03\x04"
}

// Read reads a backup. Its errors name what is wrong and quote no secret.
func Read(file io.ReaderAt, size int64) (Backup, error) {
	archive, err := zip.NewReader(file, size)
	if err != nil {
		return Backup{}, fmt.Errorf("%w: %w", ErrNotBackup, err)
	}
	b, avatar, err := fromDatabase(archive)
	if err != nil {
		return Backup{}, fmt.Errorf("%w: %w", ErrNotBackup, err)
	}
	if avatar != "" {
		b.Avatar = picture(archive, avatar)
	}
	return b, nil
}

// open opens one entry for at most limit bytes.
func open(archive *zip.Reader, name string, limit uint64) (io.ReadCloser, error) {
	for _, f := range archive.File {
		if f.Name != name {
			continue
		}
		if f.UncompressedSize64 > limit {
			return nil, fmt.Errorf("%s has more than %d bytes", name, limit)
		}
		r, err := f.Open() // yields no more than that size
		if err != nil {
			return nil, fmt.Errorf("open %s: %w", name, err)
		}
		return r, nil
	}
	return nil, fmt.Errorf("missing %s", name)
}

// picture reads an avatar; it returns nil for one that is missing or too large.
func picture(archive *zip.Reader, name string) []byte {
	r, err := open(archive, "avatars/"+path.Base(name), wire.MaxAvatar)
	if err != nil {
		return nil
	}
	defer func() { _ = r.Close() }()                          // only read
	raw, err := io.ReadAll(io.LimitReader(r, wire.MaxAvatar)) //nolint:forbidigo // through a limit
	if err != nil {
		return nil
	}
	return raw
}

// fromDatabase reads the app's database from a copy that only we can read.
func fromDatabase(archive *zip.Reader) (b Backup, avatar string, err error) {
	dir, err := os.MkdirTemp("", "mimird-import-*") // mode 0700
	if err != nil {
		return Backup{}, "", err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	copied := filepath.Join(dir, databaseName)
	if err := extract(archive, copied); err != nil {
		return Backup{}, "", err
	}
	return readDatabase(copied)
}

func extract(archive *zip.Reader, to string) (err error) {
	r, err := open(archive, databaseName, maxDatabase)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }() // only read
	file, err := os.OpenFile(to, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	if _, err := io.Copy(file, io.LimitReader(r, maxDatabase)); err != nil {
		return fmt.Errorf("read %s: %w", databaseName, err)
	}
	_, err = file.WriteAt([]byte{journalMode, journalMode}, walVersion)
	return err
}

// readDatabase reads the app's tables.
func readDatabase(file string) (b Backup, avatar string, err error) {
	// The file is untrusted: its schema must not run anything.
	where := url.URL{Scheme: "file", Path: file, RawQuery: url.Values{
		"mode": {"ro"}, "immutable": {"1"}, "_pragma": {"trusted_schema(0)", "query_only(1)"},
	}.Encode()}
	db, err := sql.Open("sqlite", where.String())
	if err != nil {
		return Backup{}, "", fmt.Errorf("open database: %w", err)
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	ctx, cancel := context.WithTimeout(context.Background(), readTime)
	defer cancel()
	for _, table := range []string{"accounts", "contacts"} {
		if err := onlyTable(ctx, db, table); err != nil {
			return Backup{}, "", err
		}
	}
	if avatar, err = readAccount(ctx, db, &b); err != nil {
		return Backup{}, "", fmt.Errorf("read account: %w", err)
	}
	if b.Contacts, err = readContacts(ctx, db, b.Key.Public()); err != nil {
		return Backup{}, "", fmt.Errorf("read contacts: %w", err)
	}
	if b.Groups, err = readGroups(ctx, db); err != nil {
		return Backup{}, "", fmt.Errorf("read groups: %w", err)
	}
	return b, avatar, nil
}

// errNoTable says that a database has no such table.
var errNoTable = errors.New("missing table")

// computes finds what computes the values of a column.
var computes = regexp.MustCompile(`(?i)\bAS\b`)

// onlyTable refuses what is not a plain table of stored values: a view of that name,
// or a column that is computed, may never end.
func onlyTable(ctx context.Context, db *sql.DB, name string) error {
	var definition sql.NullString
	err := db.QueryRowContext(ctx, "SELECT sql FROM sqlite_master WHERE lower(name) = ? AND type IN ('table', 'view')", name).Scan(&definition)
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w %s", errNoTable, name)
	}
	if err != nil {
		return fmt.Errorf("look for the table %s: %w", name, err)
	}
	if !strings.HasPrefix(strings.ToUpper(definition.String), "CREATE TABLE ") || computes.MatchString(definition.String) {
		return fmt.Errorf("table %s is a view or has computed columns", name)
	}
	return nil
}

func readAccount(ctx context.Context, db *sql.DB, b *Backup) (avatar string, err error) {
	var private, public []byte
	var name, info, picture sql.NullString
	err = db.QueryRowContext(ctx, "SELECT privkey, pubkey, name, info, avatar FROM accounts ORDER BY id LIMIT 1").
		Scan(&private, &public, &name, &info, &picture)
	if errors.Is(err, sql.ErrNoRows) {
		return "", errors.New("no account")
	}
	if err != nil {
		return "", err
	}
	seed, err := key32(private)
	if err != nil {
		return "", err
	}
	b.Key = identity.NewPrivateKey(seed)
	if want, err := key32(public); err != nil || b.Key.Public() != identity.PublicKey(want) {
		return "", errors.New("the public key does not belong to the secret key")
	}
	b.Name, b.Info = wire.CutText(name.String, wire.MaxNickname), wire.CutText(info.String, wire.MaxInfo)
	return picture.String, nil
}

func readContacts(ctx context.Context, db *sql.DB, own identity.PublicKey) (found []Contact, err error) {
	// Databases before version 20 do not say who is muted.
	rows, err := db.QueryContext(ctx, "SELECT pubkey, name, renamed, muted FROM contacts ORDER BY id LIMIT ?", maxContacts)
	if err != nil {
		rows, err = db.QueryContext(ctx, "SELECT pubkey, name, renamed, 0 FROM contacts ORDER BY id LIMIT ?", maxContacts)
	}
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var raw []byte
		var name sql.NullString
		var renamed, muted sql.NullBool
		if err := rows.Scan(&raw, &name, &renamed, &muted); err != nil {
			return nil, err
		}
		key, err := key32(raw)
		id := identity.PublicKey(key)
		if err != nil || id.Validate() != nil || id == own {
			continue // not a key that can be written to
		}
		found = append(found, Contact{
			Key: id, Name: wire.CutText(name.String, wire.MaxNickname), Renamed: renamed.Bool, Muted: muted.Bool,
		})
	}
	return found, rows.Err()
}

// readGroups reads the groups; databases of the first versions have none.
func readGroups(ctx context.Context, db *sql.DB) (found []Group, err error) {
	if err := onlyTable(ctx, db, "group_chats"); err != nil {
		if errors.Is(err, errNoTable) {
			return nil, nil
		}
		return nil, err
	}
	rows, err := db.QueryContext(ctx, "SELECT chat_id, name, mediator_pubkey, shared_key, muted FROM group_chats ORDER BY chat_id LIMIT ?", maxGroups)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var g Group
		var server, secret []byte
		var name sql.NullString
		var muted sql.NullBool
		if err := rows.Scan(&g.Chat, &name, &server, &secret, &muted); err != nil {
			return nil, err
		}
		mediator, err := key32(server)
		key, keyErr := key32(secret)
		if err != nil || keyErr != nil || g.Chat <= 0 || mediator == [32]byte{} || key == [32]byte{} {
			continue // not a group that can be read
		}
		if g.Mediator = mediator; g.Mediator == retiredMediator {
			g.Mediator = nextMediator
		}
		g.Key, g.Name, g.Muted = key, wire.CutText(name.String, maxGroupName), muted.Bool
		found = append(found, g)
	}
	return found, rows.Err()
}

// key32 reads a key, which is raw or hex.
func key32(raw []byte) (key [32]byte, err error) {
	switch len(raw) {
	case len(key):
		return [32]byte(raw), nil
	case 2 * len(key):
		if _, err := hex.Decode(key[:], raw); err == nil {
			return key, nil
		}
	}
	return key, errors.New("a key is not 32 bytes long")
}
