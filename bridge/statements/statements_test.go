// SPDX-License-Identifier: MPL-2.0

package statements

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"modernc.org/sqlite"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counts counts what a database compiles, and which of that is open.
type counts struct {
	mu       sync.Mutex
	compiled map[string]int
	open     int
}

func (c *counts) of(query string) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.compiled[query]
}

func (c *counts) opened() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open
}

type countingConnector struct {
	driver.Connector
	*counts
}

func (c countingConnector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	return countingConn{raw.(baseConn), c.counts}, nil
}

type countingConn struct {
	baseConn
	*counts
}

func (c countingConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s, err := c.baseConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.compiled[query]++
	c.open++
	return &countingStatement{s.(baseStatement), c.counts}, nil
}

type countingStatement struct {
	baseStatement
	*counts
}

func (s *countingStatement) Close() error {
	s.mu.Lock()
	s.open--
	s.mu.Unlock()
	return s.baseStatement.Close()
}

// open returns a database with a table, and what it compiles from now on.
func open(t *testing.T) (*sql.DB, *counts) {
	t.Helper()
	source := "file:" + filepath.Join(t.TempDir(), "test.db") + "?_pragma=journal_mode(WAL)&_pragma=busy_timeout(10000)&_pragma=foreign_keys(1)&_txlock=immediate"
	base, err := sqlite.NewConnector(source)
	if err != nil {
		t.Fatal(err)
	}
	counted := &counts{compiled: make(map[string]int)}
	db := sql.OpenDB(connector{countingConnector{base, counted}})
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		if n := counted.opened(); n != 0 {
			t.Errorf("%d statements are open after the end", n)
		}
	})
	execute(t, db, "CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT UNIQUE)")
	return db, counted
}

// runner is a database, a connection or a transaction.
type runner interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

func execute(t *testing.T, db runner, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

// read returns all rows, each as one string.
func read(t *testing.T, db runner, query string, args ...any) []string {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), query, args...)
	if err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	defer func() { _ = rows.Close() }()
	return drain(t, rows)
}

func drain(t *testing.T, rows *sql.Rows) (out []string) {
	t.Helper()
	columns, err := rows.Columns()
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		values, places := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			places[i] = &values[i]
		}
		if err := rows.Scan(places...); err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimSpace(fmt.Sprintln(values...)))
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

const (
	insertWord = "INSERT INTO word (id, text) VALUES (?, ?)"
	selectWord = "\n\tSELECT text FROM word WHERE id>=? ORDER BY id"
	selectAll  = "SELECT * FROM word ORDER BY id"
)

func check(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("rows %q, want %q", got, want)
	}
}

// connection returns a connection of its own.
func connection(t *testing.T, db *sql.DB) *sql.Conn {
	t.Helper()
	c, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// Two connections compile each statement once, in transactions too, and see each other's
// rows.
func TestConn_TwoConnections_CompileOnceEach(t *testing.T) {
	db, counted := open(t)
	one, other := connection(t, db), connection(t, db)
	for i := range 10 {
		execute(t, one, insertWord, 2*i, fmt.Sprint("even ", i))
		tx, err := other.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		execute(t, tx, insertWord, 2*i+1, fmt.Sprint("odd ", i))
		check(t, read(t, tx, selectWord, 2*i), fmt.Sprint("even ", i), fmt.Sprint("odd ", i))
		if i%2 == 0 {
			err = tx.Commit()
		} else {
			err = tx.Rollback()
		}
		if err != nil {
			t.Fatal(err)
		}
		want := []string{fmt.Sprint("even ", i), fmt.Sprint("odd ", i)}
		check(t, read(t, one, selectWord, 2*i), want[:2-i%2]...)
	}
	for _, query := range []string{insertWord, selectWord} {
		if n := counted.of(query); n != 2 {
			t.Errorf("%q was compiled %d times", query, n)
		}
	}
}

// A statement in use twice at once, as by rows within rows of the same text, are two.
func TestConn_RowsWithinRows(t *testing.T) {
	db, counted := open(t)
	c := connection(t, db)
	for i, text := range []string{"a", "b", "c"} {
		execute(t, c, insertWord, i, text)
	}
	for range 3 {
		tx, err := c.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		outer, err := tx.QueryContext(t.Context(), selectWord, 0)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for outer.Next() {
			var text string
			if err := outer.Scan(&text); err != nil {
				t.Fatal(err)
			}
			got = append(got, text)
			check(t, read(t, tx, selectWord, 1), "b", "c")
		}
		if err := errors.Join(outer.Err(), outer.Close(), tx.Commit()); err != nil {
			t.Fatal(err)
		}
		check(t, got, "a", "b", "c")
	}
	// Each round finds one statement in use and compiles another, and one of them is kept.
	if n := counted.of(selectWord); n != 4 {
		t.Errorf("compiled %d times", n)
	}
	before := counted.of(selectWord)
	check(t, read(t, c, selectWord, 2), "c")
	if n := counted.of(selectWord); n != before {
		t.Error("compiled again after all")
	}
}

// A kept statement follows a change of the schema by another connection and its own.
func TestConn_SchemaChanges(t *testing.T) {
	db, counted := open(t)
	one, other := connection(t, db), connection(t, db)
	execute(t, one, insertWord, 1, "a")
	check(t, read(t, one, selectAll), "1 a")
	execute(t, other, "ALTER TABLE word ADD COLUMN language TEXT DEFAULT 'en'")
	check(t, read(t, one, selectAll), "1 a en")
	execute(t, one, "ALTER TABLE word DROP COLUMN language")
	check(t, read(t, one, selectAll), "1 a")
	execute(t, other, "DROP TABLE word")
	if _, err := one.ExecContext(t.Context(), insertWord, 2, "b"); err == nil || !strings.Contains(err.Error(), "no such table") {
		t.Errorf("written to a table that is gone: %v", err)
	}
	execute(t, other, "CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT, more INTEGER DEFAULT 7)")
	execute(t, one, insertWord, 2, "b")
	check(t, read(t, one, selectAll), "2 b 7")
	if n := counted.of(selectAll); n != 1 {
		t.Errorf("compiled %d times by us, SQLite does it by itself", n)
	}
}

// After an error a statement works, on values of its own.
func TestConn_Errors(t *testing.T) {
	db, counted := open(t)
	one, other := connection(t, db), connection(t, db)
	for i, c := range []*sql.Conn{one, other} {
		execute(t, c, insertWord, 10*i, fmt.Sprint("word ", i))
		for range 2 {
			if _, err := c.ExecContext(t.Context(), insertWord, 10*i+1, "word 0"); err == nil {
				t.Fatal("a text is there twice")
			}
		}
		if _, err := c.ExecContext(t.Context(), insertWord, 1); err == nil {
			t.Fatal("an argument was missing")
		}
		if _, err := c.ExecContext(t.Context(), "INSERT INTO nowhere VALUES (1)"); err == nil {
			t.Fatal("written to no table")
		}
		execute(t, c, insertWord, 10*i+1, nil)
	}
	check(t, read(t, one, selectAll), "0 word 0", "1 <nil>", "10 word 1", "11 <nil>")
	if n := counted.opened(); n != 3 { // both have the one that inserts, one has the other
		t.Errorf("%d statements are open", n)
	}
}

// A context that ends while rows are read ends them, and not the next use.
func TestConn_CanceledContext(t *testing.T) {
	db, _ := open(t)
	for i, c := range []*sql.Conn{connection(t, db), connection(t, db)} {
		const many = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i+1 FROM n WHERE i<?) SELECT i FROM n"
		ctx, cancel := context.WithCancel(t.Context())
		rows, err := c.QueryContext(ctx, many, 5000)
		if err != nil {
			t.Fatal(err)
		}
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		cancel()
		for rows.Next() {
		}
		_ = rows.Close()
		if _, err := c.ExecContext(ctx, insertWord, i, "late"); !errors.Is(err, context.Canceled) {
			t.Errorf("written after the end: %v", err)
		}
		if got := read(t, c, many, 300); len(got) != 300 || got[299] != "300" {
			t.Errorf("%d rows after that", len(got))
		}
		if got := read(t, c, selectAll); len(got) != 0 {
			t.Errorf("rows %q", got)
		}
	}
}

// A PRAGMA takes effect each time, also one that does when it is compiled, and a script
// runs whole.
func TestConn_PragmasAndScripts(t *testing.T) {
	db, counted := open(t)
	c := connection(t, db)
	for range 2 {
		execute(t, c, "PRAGMA foreign_keys = OFF")
		check(t, read(t, c, "PRAGMA foreign_keys"), "0")
		execute(t, c, "PRAGMA foreign_keys = ON")
		check(t, read(t, c, "PRAGMA foreign_keys"), "1")
		execute(t, c, "INSERT INTO word (text) VALUES ('a'); INSERT INTO word (text) VALUES ('b')")
		check(t, read(t, c, "SELECT text FROM word ORDER BY id"), "a", "b")
		execute(t, c, "DELETE FROM word")
	}
	if n := counted.of("PRAGMA foreign_keys = OFF"); n != 2 {
		t.Errorf("a PRAGMA was compiled %d times", n)
	}
}

func TestConn_KeepsABoundedNumber(t *testing.T) {
	db, counted := open(t)
	one, other := connection(t, db), connection(t, db)
	for i := range 3 * maxKept {
		check(t, read(t, one, fmt.Sprintf("SELECT %d", i)), fmt.Sprint(i))
		check(t, read(t, other, "SELECT 'often'"), "often")
	}
	if n := counted.opened(); n != maxKept+1 {
		t.Errorf("%d statements are open", n)
	}
	check(t, read(t, one, fmt.Sprintf("SELECT %d", 3*maxKept-1)), fmt.Sprint(3*maxKept-1))
	if n := counted.of(fmt.Sprintf("SELECT %d", 3*maxKept-1)); n != 1 {
		t.Errorf("the last one was compiled %d times", n)
	}
	long := "SELECT '" + strings.Repeat("x", maxText) + "'"
	for range 2 {
		read(t, one, long)
	}
	if n := counted.of(long); n != 2 {
		t.Errorf("a long one was compiled %d times", n)
	}
}

// Many at once, with more uses than connections: every row is there once.
func TestDatabase_ManyAtOnce(t *testing.T) {
	db, _ := open(t)
	db.SetMaxOpenConns(3)
	var wg sync.WaitGroup
	for writer := range 8 {
		wg.Go(func() {
			for i := range 20 {
				id := 100*writer + i
				if _, err := db.ExecContext(t.Context(), insertWord, id, fmt.Sprint(id)); err != nil {
					t.Error(err)
					return
				}
				var text string
				if err := db.QueryRowContext(t.Context(), "SELECT text FROM word WHERE id=?", id).Scan(&text); err != nil || text != fmt.Sprint(id) {
					t.Errorf("%d is %q: %v", id, text, err)
					return
				}
			}
		})
	}
	wg.Wait()
	check(t, read(t, db, "SELECT count(*) FROM word"), "160")
}

func TestKeeps(t *testing.T) {
	for query, want := range map[string]bool{
		"SELECT 1": true, "\n\t insert\tINTO a": true, "select(1)": true, "WITH a AS (SELECT 1) SELECT * FROM a": true,
		"UPDATE\na": true, "DELETE FROM a": true, "REPLACE INTO a": true,
		"PRAGMA foreign_keys=OFF": false, "CREATE TABLE a": false, "BEGIN": false, "": false, "-- SELECT": false, "SELECTED": false, "VACUUM": false,
	} {
		if keeps(query) != want {
			t.Errorf("%q: %v", query, !want)
		}
	}
}
