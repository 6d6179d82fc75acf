// SPDX-License-Identifier: MPL-2.0

// Package statements opens a database of SQLite whose connections keep compiled
// statements. The library of the bridge gives the text of a statement each time, and to
// compile it costs SQLite as much as to run it. bridge/config opens the bridge's database
// with it.
//
// database/sql asks a connection that runs no texts itself for a compiled statement, and
// closes that after use: here it goes back to those that are kept. SQLite compiles a kept
// statement again by itself when the schema has changed.
package statements

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"unicode"

	"modernc.org/sqlite"

	"github.com/mimird/mimird/actors/lru"
)

const (
	// maxKept is how many statements a connection keeps. The one that was used least recently
	// is closed for another one.
	maxKept = 64
	// maxText is how long the text of a kept statement may be, in bytes. Longer ones insert
	// many rows at once, and seldom as many again.
	maxText = 4 << 10
)

// Open returns a database by its data source name, as [sqlite.Driver.Open] has it, without
// connecting. The caller closes it.
func Open(source string) (*sql.DB, error) {
	base, err := sqlite.NewConnector(source)
	if err != nil {
		return nil, err
	}
	return sql.OpenDB(connector{base}), nil
}

// connector opens connections that keep statements.
type connector struct{ driver.Connector }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	raw, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	base, ok := raw.(baseConn)
	if !ok {
		_ = raw.Close()
		return nil, fmt.Errorf("a connection of type %T lacks methods", raw)
	}
	return &conn{baseConn: base, kept: lru.New[string, *statement](maxKept)}, nil
}

// baseConn is what a connection of the driver does, without the methods that run a text.
type baseConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.Pinger
	driver.SessionResetter
	driver.Validator
}

// conn is a connection. database/sql calls one method at a time, of it and of its
// statements.
type conn struct {
	baseConn
	kept   *lru.Table[string, *statement] // by text, those that nobody uses now
	closed bool
}

// Unwrap returns the connection of the driver, for the functions of the driver that need it.
func (c *conn) Unwrap() driver.Conn { return c.baseConn }

// Prepare is [conn.PrepareContext] without an end.
func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// PrepareContext returns a kept statement, which nobody else uses before it is closed, or
// compiles one.
func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if kept, ok := c.kept.Get(query); ok {
		c.kept.Delete(query)
		return kept, nil
	}
	raw, err := c.baseConn.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	base, ok := raw.(baseStatement)
	if !ok || !keeps(query) {
		return raw, nil
	}
	return &statement{baseStatement: base, conn: c, query: query}, nil
}

// keeps reports whether a statement can be used again: one that reads or writes rows. A
// PRAGMA may take effect when it is compiled, and changes of the schema come once.
func keeps(query string) bool {
	if len(query) > maxText {
		return false
	}
	text := strings.TrimSpace(query)
	end := strings.IndexFunc(text, func(r rune) bool { return !unicode.IsLetter(r) })
	switch strings.ToUpper(text[:max(end, 0)]) {
	case "SELECT", "INSERT", "UPDATE", "DELETE", "REPLACE", "WITH":
		return true
	}
	return false
}

// Close closes the connection and its statements.
func (c *conn) Close() error {
	c.closed = true
	var errs []error
	for _, s := range c.kept.All() {
		errs = append(errs, s.baseStatement.Close())
	}
	c.kept = lru.New[string, *statement](maxKept)
	return errors.Join(append(errs, c.baseConn.Close())...)
}

// baseStatement is what a statement of the driver does.
type baseStatement interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// statement is a compiled statement in use.
type statement struct {
	baseStatement
	conn   *conn
	query  string
	failed bool // it is not used again
}

func (s *statement) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	result, err := s.baseStatement.ExecContext(ctx, args)
	s.failed = s.failed || err != nil
	return result, err
}

func (s *statement) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	rows, err := s.baseStatement.QueryContext(ctx, args)
	s.failed = s.failed || err != nil
	return rows, err
}

// Close ends a use: the statement is kept, unless it has failed or another one of the same
// text is kept.
func (s *statement) Close() error {
	if _, twice := s.conn.kept.Peek(s.query); s.failed || twice || s.conn.closed {
		return s.baseStatement.Close()
	}
	if evicted, ok := s.conn.kept.Put(s.query, s); ok {
		return evicted.baseStatement.Close()
	}
	return nil
}
