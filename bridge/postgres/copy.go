// SPDX-License-Identifier: MPL-2.0

// Package postgres copies the bridge's tables from a file of SQLite to a database of
// PostgreSQL. It exists because bridges begin with a file, and grow.
package postgres

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"github.com/lib/pq"
	"github.com/rs/zerolog"
	"go.mau.fi/util/dbutil"
	"maunium.net/go/mautrix/bridgev2/database/upgrades"
	"maunium.net/go/mautrix/crypto/sql_store_upgrade"
	"maunium.net/go/mautrix/sqlstatestore"
)

var (
	// ErrNotEmpty says that the target has rows already, of a bridge that ran with it or
	// of another program.
	ErrNotEmpty = errors.New("the PostgreSQL database is not empty; create a new one for the bridge")
	// ErrOtherVersion says that the tables of the file are not those of this program.
	ErrOtherVersion = errors.New("the tables are of another version; run this program with the file once (mimird up), stop it, and try again")
)

// Table is a table that was copied, and how many rows it has.
type Table struct {
	Name string `json:"name"`
	Rows int64  `json:"rows"`
}

// parts are the parts of the tables, each with a version of its own.
var parts = []struct {
	versions string // its table
	steps    dbutil.UpgradeTable
	optional bool // only with encryption
}{
	{"version", upgrades.Table, false},
	{sqlstatestore.VersionTableName, sqlstatestore.UpgradeTable, false},
	{sql_store_upgrade.VersionTableName, sql_store_upgrade.Table, true},
}

// ownerTable says which program the tables belong to. dbutil writes it.
const ownerTable = "database_owner"

// Copy creates the tables of the bridge in to, a database of PostgreSQL without rows, and
// copies those of from, of SQLite, in one transaction: after an error or a crash to has
// the tables and no rows, and Copy may be repeated. from stays as it is. No bridge may run
// with either of them. Errors: [ErrNotEmpty], [ErrOtherVersion], those of both databases,
// and rows that PostgreSQL cannot store, with the name of their table.
func Copy(ctx context.Context, from, to *dbutil.Database) ([]Table, error) {
	if err := createTables(ctx, from, to); err != nil {
		return nil, err
	}
	tx, err := to.RawDB.BeginTx(ctx, nil)
	if err != nil {
		return nil, fmt.Errorf("begin to copy: %w", err)
	}
	tables, err := copyTables(ctx, from.RawDB, tx)
	if err != nil {
		return nil, errors.Join(err, tx.Rollback())
	}
	if err := tx.Commit(); err != nil {
		return nil, fmt.Errorf("commit what was copied: %w", err)
	}
	return tables, nil
}

func copyTables(ctx context.Context, from *sql.DB, to *sql.Tx) (tables []Table, err error) {
	names, err := tableNames(ctx, from)
	if err != nil {
		return nil, err
	}
	keys, err := foreignKeys(ctx, to)
	if err != nil {
		return nil, err
	}
	// Rows refer to rows of tables that come later, and of their own.
	if err := deferKeys(ctx, to, keys, "DEFERRABLE INITIALLY DEFERRED"); err != nil {
		return nil, err
	}
	for _, name := range names {
		rows, err := copyTable(ctx, from, to, name)
		if err != nil {
			return nil, fmt.Errorf("copy the table %s: %w", name, err)
		}
		tables = append(tables, Table{Name: name, Rows: rows})
	}
	if _, err := to.ExecContext(ctx, "SET CONSTRAINTS ALL IMMEDIATE"); err != nil {
		return nil, fmt.Errorf("check what the tables say of each other: %w", err)
	}
	return tables, deferKeys(ctx, to, keys, "NOT DEFERRABLE")
}

func createTables(ctx context.Context, from, to *dbutil.Database) error {
	for _, part := range parts {
		found, err := from.TableExists(ctx, part.versions)
		switch {
		case err != nil:
			return fmt.Errorf("read the file: %w", err)
		case !found && part.optional:
			continue
		case !found:
			return ErrOtherVersion
		}
		var version, target int
		if err := from.QueryRow(ctx, "SELECT version FROM "+part.versions).Scan(&version); err != nil {
			return fmt.Errorf("read the version of the file: %w", err)
		}
		if version != len(part.steps) {
			return ErrOtherVersion
		}
		child := to.Child(part.versions, part.steps, dbutil.ZeroLogger(zerolog.Nop()))
		if err := child.Upgrade(ctx); err != nil {
			return fmt.Errorf("create the tables: %w", err)
		}
		if err := to.QueryRow(ctx, "SELECT version FROM "+part.versions).Scan(&target); err != nil || target != version {
			return errors.Join(ErrOtherVersion, err)
		}
	}
	names, err := tableNames(ctx, from.RawDB)
	if err != nil {
		return err
	}
	for _, name := range names {
		if found, err := to.TableExists(ctx, name); err != nil || !found {
			return errors.Join(fmt.Errorf("the file has the table %s, which this program does not know: %w", name, ErrOtherVersion), err)
		}
		var occupied bool
		if err := to.QueryRow(ctx, "SELECT EXISTS(SELECT 1 FROM "+pq.QuoteIdentifier(name)+")").Scan(&occupied); err != nil {
			return fmt.Errorf("read the table %s: %w", name, err)
		}
		if occupied {
			return ErrNotEmpty
		}
	}
	return nil
}

// tableNames returns the tables of the file whose rows are copied.
func tableNames(ctx context.Context, from *sql.DB) ([]string, error) {
	rows, err := from.QueryContext(ctx, `SELECT name FROM sqlite_master WHERE type='table' AND name NOT LIKE 'sqlite!_%' ESCAPE '!' ORDER BY name`)
	names, err := dbutil.ConvertRowFn[string](dbutil.ScanSingleColumn[string]).NewRowIter(rows, err).AsList()
	if err != nil {
		return nil, fmt.Errorf("list the tables of the file: %w", err)
	}
	kept := names[:0]
	for _, name := range names {
		isOwn := name == ownerTable
		for _, part := range parts {
			isOwn = isOwn || name == part.versions
		}
		if !isOwn { // those were written when the tables were created
			kept = append(kept, name)
		}
	}
	return kept, nil
}

type foreignKey struct{ table, name string }

func foreignKeys(ctx context.Context, to *sql.Tx) ([]foreignKey, error) {
	rows, err := to.QueryContext(ctx, `SELECT conrelid::regclass::text, conname FROM pg_constraint
		WHERE contype='f' AND connamespace=current_schema()::regnamespace ORDER BY 1, 2`)
	keys, err := dbutil.ConvertRowFn[foreignKey](func(row dbutil.Scannable) (k foreignKey, err error) {
		return k, row.Scan(&k.table, &k.name)
	}).NewRowIter(rows, err).AsList()
	if err != nil {
		return nil, fmt.Errorf("list the foreign keys: %w", err)
	}
	return keys, nil
}

func deferKeys(ctx context.Context, to *sql.Tx, keys []foreignKey, when string) error {
	for _, key := range keys {
		// The table is quoted where it must be: regclass does that.
		statement := fmt.Sprintf("ALTER TABLE %s ALTER CONSTRAINT %s %s", key.table, pq.QuoteIdentifier(key.name), when)
		if _, err := to.ExecContext(ctx, statement); err != nil {
			return fmt.Errorf("change when the foreign key %s is checked: %w", key.name, err)
		}
	}
	return nil
}

// column is a column of a table in both databases.
type column struct {
	name     string
	kind     string // in PostgreSQL
	numbered bool   // PostgreSQL numbers new rows
}

// columns returns the columns of a table of the file, with what they are in PostgreSQL.
func columns(ctx context.Context, from *sql.DB, to *sql.Tx, table string) ([]column, error) {
	rows, err := from.QueryContext(ctx, "SELECT name FROM pragma_table_info(?1)", table)
	names, err := dbutil.ConvertRowFn[string](dbutil.ScanSingleColumn[string]).NewRowIter(rows, err).AsList()
	if err != nil {
		return nil, err
	}
	var out []column
	for _, name := range names {
		c := column{name: name}
		err := to.QueryRowContext(ctx, `SELECT data_type, is_identity='YES' OR COALESCE(column_default, '') LIKE 'nextval(%'
			FROM information_schema.columns WHERE table_schema=current_schema() AND table_name=$1 AND column_name=$2`, table, name).
			Scan(&c.kind, &c.numbered)
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
		out = append(out, c)
	}
	return out, nil
}

func copyTable(ctx context.Context, from *sql.DB, to *sql.Tx, table string) (copied int64, err error) {
	cols, err := columns(ctx, from, to, table)
	if err != nil {
		return 0, err
	}
	quoted := make([]string, len(cols))
	for i, c := range cols {
		quoted[i] = pq.QuoteIdentifier(c.name)
	}
	rows, err := from.QueryContext(ctx, "SELECT "+strings.Join(quoted, ", ")+" FROM "+pq.QuoteIdentifier(table))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	statement, err := to.PrepareContext(ctx, "COPY "+pq.QuoteIdentifier(table)+" ("+strings.Join(quoted, ", ")+") FROM STDIN")
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, statement.Close()) }()
	values, pointers := make([]any, len(cols)), make([]any, len(cols))
	for i := range values {
		pointers[i] = &values[i]
	}
	for rows.Next() {
		if err := rows.Scan(pointers...); err != nil {
			return 0, err
		}
		for i, c := range cols {
			if values[i], err = convert(values[i], c.kind); err != nil {
				return 0, fmt.Errorf("column %s: %w", c.name, err)
			}
		}
		if _, err := statement.ExecContext(ctx, values...); err != nil {
			return 0, err
		}
		copied++
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	if _, err := statement.ExecContext(ctx); err != nil { // what was collected
		return 0, err
	}
	return copied, continueNumbers(ctx, to, table, cols)
}

// continueNumbers makes PostgreSQL number new rows after those that were copied.
func continueNumbers(ctx context.Context, to *sql.Tx, table string, cols []column) error {
	for _, c := range cols {
		if !c.numbered {
			continue
		}
		statement := fmt.Sprintf("SELECT setval(pg_get_serial_sequence($1, $2), MAX(%s)) FROM %s HAVING MAX(%[1]s) IS NOT NULL",
			pq.QuoteIdentifier(c.name), pq.QuoteIdentifier(table))
		if _, err := to.ExecContext(ctx, statement, pq.QuoteIdentifier(table), c.name); err != nil {
			return fmt.Errorf("column %s: %w", c.name, err)
		}
	}
	return nil
}

// convert returns a value of SQLite, which has fewer types, as one of a PostgreSQL type.
func convert(value any, kind string) (any, error) {
	switch v := value.(type) {
	case nil, bool:
		return v, nil
	case int64:
		if kind == "boolean" {
			return v != 0, nil
		}
		return v, nil
	case float64:
		return v, nil
	case string:
		return text(v, kind)
	case []byte:
		if kind == "bytea" {
			return v, nil
		}
		return text(string(v), kind)
	default:
		return nil, fmt.Errorf("a %T cannot be copied", value)
	}
}

func text(v, kind string) (any, error) {
	switch {
	case kind == "bytea":
		return []byte(v), nil
	case kind == "ARRAY":
		return nil, errors.New("a list cannot be copied")
	case strings.ContainsRune(v, 0):
		return nil, errors.New("PostgreSQL cannot store a text with a zero byte")
	}
	return v, nil
}
