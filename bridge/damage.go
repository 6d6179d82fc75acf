// SPDX-License-Identifier: MPL-2.0

package bridge

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mimird/mimird/bridge/fault"

	"gopkg.in/yaml.v3"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

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
		return damagedTables(path, fmt.Errorf("%.200s", oneLineText(found)))
	default:
		return nil
	}
}

// isWhole reports whether a registration has what every homeserver wants of one.
func (r *registration) isWhole() bool {
	return r.ID != "" && r.ASToken != "" && r.HSToken != "" && r.SenderLocalpart != "" && len(r.Namespaces.Users) > 0
}

// registrationProblems compares the registration files in a directory, which the
// homeserver was given, with what they should be. A file that is not there is no
// problem: it may have been moved to the homeserver.
func (c *Config) registrationProblems(dir string) (problems []string) {
	files, err := c.Registrations()
	if err != nil {
		return nil // New has said so
	}
	for _, file := range files {
		path := filepath.Join(dir, file.Name)
		have, err := os.ReadFile(path)
		var parsed registration
		switch {
		case errors.Is(err, os.ErrNotExist):
			continue
		case err != nil:
			problems = append(problems, fmt.Sprintf("%s cannot be read: %s", path, fault.OneLine(err)))
		case yaml.Unmarshal(have, &parsed) != nil || !parsed.isWhole():
			problems = append(problems, fmt.Sprintf("%s is damaged: run mimird matrix -g, and give it to the homeserver", path))
		case !sameRegistration(have, file.Content):
			problems = append(problems, fmt.Sprintf("%s does not fit the configuration: run mimird matrix -g, give it to the homeserver and restart it", path))
		}
	}
	return problems
}
