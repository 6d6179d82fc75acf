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
	"modernc.org/sqlite" // also registers the driver
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/mimird/mimird/bridge/statements"
)

// The database types, with the names that mautrix bridges use.
const (
	databaseSQLite   = "sqlite3-fk-wal"
	databasePostgres = "postgres"
)

// OpenDatabase opens the bridge's own database. A file of SQLite is below dir, the data
// directory, has mode 0600, is checked for corruption first, and syncs every commit: a
// room that was created must not be forgotten. Its connections keep compiled statements.
// The caller closes the database.
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
	raw, err := statements.Open(sqliteSource(path, url.Values{
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
		err = checkDatabase(ctx, raw, path)
	} else if isCorrupt(err) {
		err = corruptError(path, err)
	}
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("open the bridge's database: %w", err)
	}
	return db, nil
}

// InPostgres returns the section with another database, one of PostgreSQL. It fails with
// [ErrNotAFile] when the section names one already.
func (c *Config) InPostgres(uri string) (*Config, error) {
	if c.Database.Type == databasePostgres {
		return nil, ErrNotAFile
	}
	other := *c
	other.Database.Type, other.Database.URI = databasePostgres, uri
	return &other, nil
}

// HasDatabase reports whether the SQLite file is there.
func (c *Config) HasDatabase(dir string) bool {
	_, err := os.Stat(c.databasePath(dir))
	return err == nil
}

// databasePath returns the path of the SQLite file.
func (c *Config) databasePath(dir string) string {
	path := strings.TrimPrefix(c.Database.URI, "file:")
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	return path
}

// sqliteSource returns the data source name of a file.
func sqliteSource(path string, query url.Values) string {
	source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: query.Encode()}
	return source.String()
}

// reserveFile creates the file of a database with mode 0600, because it has access
// tokens. SQLite gives its other files the same mode.
func reserveFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return file.Close()
}

// corruptError says that the database is corrupt, and what to do. The bridge can rebuild
// what it needs of it.
func corruptError(path string, err error) error {
	return fmt.Errorf("%s is damaged: stop mimird, and restore the file from a backup, or move it and its -wal and -shm away; "+
		"without it the bridge learns its rooms again and its users log in again (%w)", path, err)
}

// isCorrupt reports whether an error of SQLite means that the file is corrupt.
func isCorrupt(err error) bool {
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return false
	}
	const primary = 0xff // the other bits give details
	code := failure.Code() & primary
	return code == sqlite3.SQLITE_CORRUPT || code == sqlite3.SQLITE_NOTADB
}

// checkDatabase reads every page of an SQLite database, and returns an error if it is
// corrupt.
func checkDatabase(ctx context.Context, db *sql.DB, path string) error {
	var found string
	err := db.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found)
	switch {
	case err != nil && isCorrupt(err):
		return corruptError(path, err)
	case err != nil:
		return fmt.Errorf("check the bridge's database: %w", err)
	case found != "ok":
		return corruptError(path, fmt.Errorf("%.200s", found))
	default:
		return nil
	}
}
