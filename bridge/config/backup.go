// SPDX-License-Identifier: MPL-2.0

package config

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
)

// ErrNotAFile means that the bridge's database is not a file of ours.
var ErrNotAFile = errors.New("the bridge's tables are in PostgreSQL, which has backups of its own")

// CopyDatabase copies the file of the bridge's database into the directory target, under
// its path relative to the data directory dir. The bridge may use it meanwhile. It does
// nothing if there is no file yet, and returns [ErrNotAFile] for PostgreSQL.
func (c *Config) CopyDatabase(ctx context.Context, dir, target string) error {
	if c.Database.Type == databasePostgres {
		return ErrNotAFile
	}
	path := c.databasePath(dir)
	name, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(name) {
		name = filepath.Base(path) // a file outside of dir is restored into it
	}
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	copied := filepath.Join(target, name)
	if err := os.MkdirAll(filepath.Dir(copied), 0o700); err != nil {
		return fmt.Errorf("copy the bridge's database: %w", err)
	}
	if err := reserveFile(copied); err != nil {
		return fmt.Errorf("copy the bridge's database: %w", err)
	}
	db, err := sql.Open("sqlite", sqliteSource(path, url.Values{"_pragma": {"busy_timeout(10000)"}}))
	if err != nil {
		return fmt.Errorf("copy the bridge's database: %w", err)
	}
	_, err = db.ExecContext(ctx, "VACUUM INTO ?", copied)
	if err = errors.Join(err, db.Close()); err != nil {
		return fmt.Errorf("copy the bridge's database: %w", err)
	}
	return nil
}
