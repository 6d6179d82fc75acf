// SPDX-License-Identifier: MPL-2.0

package bridge

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
)

// The database types, under the names that mautrix bridges have for them.
const (
	databaseSQLite   = "sqlite3-fk-wal"
	databasePostgres = "postgres"
)

// openDatabase opens the bridge's own tables. SQLite is the one in pure Go. Every
// commit of it is synced: a room that was made must not be forgotten.
func openDatabase(ctx context.Context, cfg dbutil.Config, dir string, log zerolog.Logger) (*dbutil.Database, error) {
	logger := dbutil.ZeroLogger(log.With().Str("db_section", "main").Logger())
	if cfg.Type == databasePostgres {
		db, err := dbutil.NewFromConfig("mimird", cfg, logger)
		if err != nil {
			return nil, fmt.Errorf("open the bridge's database: %w", err)
		}
		return db, nil
	}
	path := strings.TrimPrefix(cfg.URI, "file:")
	if !filepath.IsAbs(path) {
		path = filepath.Join(dir, path)
	}
	if err := reserveFile(path); err != nil {
		return nil, fmt.Errorf("open the bridge's database: %w", err)
	}
	source := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: url.Values{
		"_pragma": {"foreign_keys(1)", "journal_mode(WAL)", "synchronous(FULL)", "busy_timeout(10000)"},
		"_txlock": {"immediate"},
	}.Encode()}
	raw, err := sql.Open("sqlite", source.String())
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
	if err != nil {
		_ = raw.Close()
		return nil, fmt.Errorf("open the bridge's database: %w", err)
	}
	return db, nil
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

// isDatabaseError reports whether an error is the bridge's own database failing,
// which is no property of what was to be done: that can be tried again.
func isDatabaseError(err error) bool {
	var failure *sqlite.Error
	return errors.As(err, &failure) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, sql.ErrTxDone)
}
