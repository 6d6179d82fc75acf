// SPDX-License-Identifier: MPL-2.0

package config

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"
	"go.mau.fi/util/dbutil"
	"modernc.org/sqlite"
	_ "modernc.org/sqlite" // registers the driver
	sqlite3 "modernc.org/sqlite/lib"
)

// The database types, under the names that mautrix bridges have for them.
const (
	databaseSQLite   = "sqlite3-fk-wal"
	databasePostgres = "postgres"
)

// OpenDatabase opens the bridge's own tables. SQLite is the one in pure Go. Every
// commit of it is synced: a room that was made must not be forgotten.
func (c *Config) OpenDatabase(ctx context.Context, dir string, log zerolog.Logger) (*dbutil.Database, error) {
	cfg := c.Database
	logger := dbutil.ZeroLogger(log.With().Str("db_section", "main").Logger())
	if cfg.Type == databasePostgres {
		db, err := dbutil.NewFromConfig("mimird", cfg, logger)
		if err != nil {
			return nil, fmt.Errorf("open the bridge's database: %w", err)
		}
		return db, nil
	}
	path := c.databasePath(dir)
	if err := reserveFile(path); err != nil {
		return nil, fmt.Errorf("open the bridge's database: %w", err)
	}
	raw, err := sql.Open("sqlite", sqliteSource(path, url.Values{
		"_pragma": {"foreign_keys(1)", "journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)"},
		"_txlock": {"immediate"},
	}))
	if err != nil {
		return nil, fmt.Errorf("open the bridge's database: %w", err)
	}
	db, err := dbutil.NewWithDB(raw, "sqlite3")
	if err == nil {
		db.Owner, db.Log = "mimird", logger
		err = db.Configure(cfg)
	}
	if err == nil {
		err = raw.PingContext(ctx)
	}
	if err == nil {
		err = checkTables(ctx, raw, path)
	} else if isDamage(err) {
		err = damagedTables(path, err)
	}
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("open the bridge's database: %w", err)
	}
	return db, nil
}

// databasePath is where the file of the tables is.
func (c *Config) databasePath(dir string) string {
	path := strings.TrimPrefix(c.Database.URI, "file:")
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return path
}

func sqliteSource(path string, query url.Values) string {
	source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}
	return source.String()
}

// reserveFile makes the database's file with mode 0600: it holds access tokens.
// SQLite gives its other files the same mode.
func reserveFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// damagedTables says that the bridge's tables cannot be used, and what to do. What
// the bridge needs of them it learns again.
func damagedTables(path string, err error) error {
	return fmt.Errorf("%s is damaged: stop mimird, and restore the file from a backup, or move it and its -wal and -shm away; "+
		"without it the bridge learns its rooms again and its users log in again (%w)", path, err)
}

// isDamage reports whether an error of SQLite means that the file is not what it was.
func isDamage(err error) bool {
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return false
	}
	const primary = 0xff // the rest says more exactly
	code := failure.Code() & primary
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// checkTables reads every page of an SQLite database.
func checkTables(ctx context.Context, db *sql.DB, path string) error {
	var found string
	err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found)
	switch {
	case err != nil && isDamage(err):
		return damagedTables(path, err)
	case err != nil:
		return fmt.Errorf("check the bridge's database: %w", err)
	case found != "ok":
		return damagedTables(path, fmt.Errorf("%.200s", found))
	default:
		return nil
	}
}
