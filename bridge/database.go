// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"database/sql"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"
	"go.mau.fi/util/dbutil"
	_ "modernc.org/sqlite" // registers the driver
)

// The database types, under the names that mautrix bridges have for them.
const (
	databaseSQLite   = "sqlite3-fk-wal"
	databasePostgres = "postgres"
)

// openDatabase opens the bridge's own tables. SQLite is the one in pure Go. Every
// commit of it is synced: a room that was made must not be forgotten.
func (c *Config) openDatabase(ctx context.Context, dir string, log zerolog.Logger) (*dbutil.Database, error) {
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
