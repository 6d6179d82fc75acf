// SPDX-License-Identifier: MPL-2.0

package search

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cespare/xxhash/v2"
	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/mimird/mimird/actors/store"
	"github.com/mimird/mimird/proto/identity"
)

// schemaVersion is the version of the tables and of what is a word. A file of another
// version is built again.
const schemaVersion = 3

// schema makes the tables. A document is a message, or the name of a contact or group. Its id says whose it
// is and when it was sent, so that one account's documents, those of some days and the
// latest ones are ranges of the index, read in order:
//
//	bits 33 to 62  number of the account
//	bits  1 to 32  Unix seconds; below minSeconds the rest is the number of a conversation,
//	               whose name it is
//	bit   0        one of the second's slots, see document.id
//
// texts has which words are in which document, neither the text nor where in it they are:
// that is read from the message. Most of the file are distances between ids, so few slots
// make it small. FTS5 would collect all documents of all words that begin with a prefix
// before it returns the first one, or need a list for each prefix: instead, terms says which
// words there are, and it is asked for those.
const schema = `
CREATE TABLE accounts (n INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, seq INTEGER NOT NULL, mark BLOB NOT NULL);
CREATE TABLE conversations (n INTEGER PRIMARY KEY, account INTEGER NOT NULL, id BLOB NOT NULL, UNIQUE (account, id));
CREATE TABLE documents (id INTEGER PRIMARY KEY, conversation INTEGER NOT NULL, place INTEGER NOT NULL);
CREATE INDEX places ON documents (conversation, place);
CREATE TABLE terms (word TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE VIRTUAL TABLE texts USING fts5(words, content='', contentless_delete=1, detail=none, tokenize='ascii');
`

const (
	accountShift = 33
	secondShift  = 1
	maxAccount   = 1<<(63-accountShift) - 1
	maxSeconds   = 1<<(accountShift-secondShift) - 1
	// minSeconds is the first second of messages, in 1974.
	minSeconds = 1 << 27
	// maxAttempts is how many slots are tried for a message. The first is by its place,
	// the next ones are anywhere in a part of the time behind it that is twice as wide each
	// time, up to widest seconds. So a message of an
	// account that gets more than one in a second for long may be sorted late.
	maxAttempts = 48
	widest      = 1 << 26

	// minTerm is the length of the shortest words in terms, in bytes.
	minTerm = 3
	// maxExpanded is how many words a prefix is expanded to.
	maxExpanded = 4000
	// maxTermsKnown is how many words of terms are remembered.
	maxTermsKnown = 50_000

	// chunk is how many documents are removed at once.
	chunk = 2000
	// hashSize is how many bytes FTS5 collects in memory, at least as much as it makes of
	// pageText.
	hashSize = 8 << 20
	// maxNumbers is how many numbers of conversations are remembered.
	maxNumbers = 10_000
)

// document is a change of the index.
type document struct {
	conversation int64
	place        int64 // Message.Order, 0 for the name of the conversation
	sent         store.Millis
	words        string // "" removes it
}

// id returns the slot of an attempt.
func (d document) id(account int64, attempt int) int64 {
	if d.place == 0 {
		return account<<accountShift | d.conversation
	}
	second, slot := secondOf(d.sent), d.place&(1<<secondShift-1)
	if attempt > 0 {
		mixed := d.mixed(attempt)
		window := int64(min(1<<max(attempt-1, 0), widest))
		second = min(second+mixed>>secondShift%window, maxSeconds)
		slot = mixed & (1<<secondShift - 1)
	}
	return account<<accountShift | second<<secondShift | slot
}

// mixed returns a number of the attempt that is not negative and differs between
// documents.
func (d document) mixed(attempt int) int64 {
	text := fmt.Appendf(nil, "%d %d %d", d.conversation, d.place, attempt)
	return int64(xxhash.Sum64(text) >> 1) //nolint:gosec // 63 bits
}

// secondOf returns the Unix seconds of a time, as ids have them.
func secondOf(t store.Millis) int64 { return min(max(int64(t)/1000, minSeconds), maxSeconds) }

// firstID and lastID are the ends of the messages of an account that were sent between
// two seconds.
func firstID(account, seconds int64) int64 {
	return account<<accountShift | max(seconds, minSeconds)<<secondShift
}

func lastID(account, seconds int64) int64 {
	return account<<accountShift | seconds<<secondShift | (1<<secondShift - 1)
}

// index is the file, open. One goroutine writes; search may be called from any.
type index struct {
	write, read *sql.DB
	numbers     map[store.Conversation]int64
	// terms are words that the table has.
	terms map[string]struct{}
}

// errDamaged is returned for a file that is not what this version has written. The index
// is built again.
var errDamaged = errors.New("search index damaged")

// isDamaged reports whether an error says that the file has to be built again.
func isDamaged(err error) bool {
	if errors.Is(err, errDamaged) {
		return true
	}
	var failure *sqlite.Error
	if !errors.As(err, &failure) {
		return false
	}
	const primary = 0xff // the other bits give details
	switch failure.Code() & primary {
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_FORMAT, sqlite3.SQLITE_CONSTRAINT:
		return true
	}
	return false
}

// source is the data source name of a file, with settings for every connection.
func source(path string, pragmas ...string) string {
	values := url.Values{"_pragma": append(pragmas, "busy_timeout(5000)", "temp_store(memory)", "trusted_schema(0)")}
	u := url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: values.Encode()}
	return u.String()
}

// openIndex opens the file in a directory, and creates both. Errors for which isDamaged
// holds say that the directory has to be removed first.
func openIndex(ctx context.Context, dir string) (_ *index, err error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open search index: %w", err)
	}
	path := filepath.Join(dir, fileName)
	// SQLite gives its other files the mode of this one.
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err == nil {
		err = f.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("open search index: %w", err)
	}
	x := &index{numbers: make(map[store.Conversation]int64), terms: make(map[string]struct{})}
	if x.write, err = sql.Open("sqlite", source(path, "journal_mode(wal)", "synchronous(normal)", "journal_size_limit(16777216)", "cache_size(-8192)", "secure_delete(fast)")); err != nil {
		return nil, fmt.Errorf("open search index: %w", err)
	}
	x.write.SetMaxOpenConns(1)
	if x.read, err = sql.Open("sqlite", source(path, "query_only(1)", "cache_size(-4096)")); err != nil {
		return nil, errors.Join(fmt.Errorf("open search index: %w", err), x.write.Close())
	}
	x.read.SetMaxOpenConns(maxSearches)
	if err := x.prepare(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open search index: %w", err), x.close())
	}
	return x, nil
}

func (x *index) close() error { return errors.Join(x.read.Close(), x.write.Close()) }

// prepare makes the tables of a new file, and compares the version of any other.
func (x *index) prepare(ctx context.Context) error {
	var version, tables, ours int
	if err := x.write.QueryRowContext(ctx, "PRAGMA user_version").Scan(&version); err != nil {
		return err
	}
	const count = "SELECT count(*), coalesce(sum(name IN ('accounts', 'conversations', 'documents', 'terms', 'texts')), 0) FROM sqlite_master WHERE type = 'table'"
	if err := x.write.QueryRowContext(ctx, count).Scan(&tables, &ours); err != nil {
		return err
	}
	switch {
	case version == schemaVersion && ours == 5:
		return nil
	case tables > 0:
		return fmt.Errorf("%w: version %d, %d tables", errDamaged, version, tables)
	}
	return x.inTransaction(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, schema+fmt.Sprintf("INSERT INTO texts (texts, rank) VALUES ('hashsize', %d); PRAGMA user_version = %d", hashSize, schemaVersion))
		return err
	})
}

// check reads the whole file, and returns damage that it finds.
func (x *index) check(ctx context.Context) error {
	var found string
	if err := x.read.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		return fmt.Errorf("%w: %.200s", errDamaged, found)
	}
	return nil
}

func (x *index) inTransaction(ctx context.Context, f func(*sql.Tx) error) error {
	tx, err := x.write.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // the error of f is the one that counts
		return err
	}
	return tx.Commit()
}

// cursor is how far an account's log is in the index. mark is the event there, so that
// another log of the same account, such as that of a backup, is not taken for this one.
type cursor struct {
	account int64 // 0 when the index does not know the account
	seq     uint64
	mark    []byte
}

// querier is a database or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func cursorOf(ctx context.Context, db querier, account identity.PublicKey) (c cursor, err error) {
	var seq int64
	err = db.QueryRowContext(ctx, "SELECT n, seq, mark FROM accounts WHERE key = ?", account[:]).Scan(&c.account, &seq, &c.mark)
	if errors.Is(err, sql.ErrNoRows) {
		return cursor{}, nil
	}
	c.seq = uint64(seq) //nolint:gosec // it was one
	return c, err
}

// addAccount gives an account its number.
func (x *index) addAccount(ctx context.Context, account identity.PublicKey) (c cursor, err error) {
	err = x.inTransaction(ctx, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, "INSERT OR IGNORE INTO accounts (key, seq, mark) VALUES (?, 0, x'')", account[:]); err != nil {
			return err
		}
		c, err = cursorOf(ctx, tx, account)
		if err == nil && c.account > maxAccount {
			err = fmt.Errorf("%w: too many accounts", errDamaged)
		}
		return err
	})
	return c, err
}

// accounts returns those that the index knows.
func (x *index) accounts(ctx context.Context) (keys []identity.PublicKey, err error) {
	return all(ctx, x.write, func(rows *sql.Rows) (key identity.PublicKey, err error) {
		var raw []byte
		if err = rows.Scan(&raw); err == nil && len(raw) != len(key) {
			err = errDamaged
		}
		copy(key[:], raw)
		return key, err
	}, "SELECT key FROM accounts ORDER BY n")
}

// all reads the rows of a query.
func all[T any](ctx context.Context, db querier, scan func(*sql.Rows) (T, error), query string, args ...any) (out []T, err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, err
		}
		out = append(out, row)
	}
	return out, rows.Err()
}

func scanNumber(rows *sql.Rows) (n int64, err error) { return n, rows.Scan(&n) }

// numberOf returns the number of a conversation, 0 when it has none.
func numberOf(ctx context.Context, db querier, account int64, id store.ConversationID) (n int64, err error) {
	err = db.QueryRowContext(ctx, "SELECT n FROM conversations WHERE account = ? AND id = ?", account, id[:]).Scan(&n)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	return n, err
}

// number gives a conversation its number.
func (x *index) number(ctx context.Context, account int64, c store.Conversation) (int64, error) {
	if n, ok := x.numbers[c]; ok {
		return n, nil
	}
	if _, err := x.write.ExecContext(ctx, "INSERT OR IGNORE INTO conversations (account, id) VALUES (?, ?)", account, c.ID[:]); err != nil {
		return 0, err
	}
	n, err := numberOf(ctx, x.write, account, c.ID)
	if err != nil || n == 0 {
		return 0, errors.Join(err, fmt.Errorf("number of a conversation: %w", sql.ErrNoRows))
	}
	if len(x.numbers) >= maxNumbers {
		clear(x.numbers)
	}
	x.numbers[c] = n
	return n, nil
}

// put changes documents and moves the cursor, both or neither. Each document is in changes
// once.
func (x *index) put(ctx context.Context, c cursor, changes []document) error {
	return x.inTransaction(ctx, func(tx *sql.Tx) error {
		w := writing{tx: tx, account: c.account, taken: make(map[int64]document)}
		if err := w.put(ctx, changes); err != nil {
			return err
		}
		if err := x.addTerms(ctx, &w, changes); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, "UPDATE accounts SET seq = ?, mark = coalesce(?, x'') WHERE n = ?", int64(c.seq), c.mark, c.account) //nolint:gosec // far below
		return err
	})
}

// addTerms adds the words that are not shorter than minTerm. When the transaction fails the
// index is closed, and what is remembered with it.
func (x *index) addTerms(ctx context.Context, w *writing, changes []document) error {
	if len(x.terms) >= maxTermsKnown {
		clear(x.terms)
	}
	var added []string
	for _, d := range changes {
		for word := range strings.SplitSeq(d.words, " ") {
			if _, known := x.terms[word]; known || len(word) < minTerm || strings.HasPrefix(word, string(scope)) {
				continue
			}
			x.terms[word] = struct{}{}
			added = append(added, word)
		}
	}
	slices.Sort(added)
	return w.exec(ctx, "INSERT OR IGNORE INTO terms (word) VALUES ", "", "(?)", len(added), func(i int) []any { return []any{added[i]} })
}

// expand returns the words that begin with a prefix, false when there are too many.
func (x *index) expand(ctx context.Context, prefix string) (words []string, ok bool, err error) {
	words, err = all(ctx, x.read, func(rows *sql.Rows) (word string, err error) { return word, rows.Scan(&word) },
		"SELECT word FROM terms WHERE word >= ? AND word < ? ORDER BY word LIMIT ?", prefix, prefix+string(utf8.MaxRune), maxExpanded+1)
	return words, len(words) <= maxExpanded, err
}

// writing is one transaction of changes.
type writing struct {
	tx      *sql.Tx
	account int64
	// taken are slots and who has them: conversation 0 is nobody any more.
	taken map[int64]document
	asked map[int64]bool
}

func (w *writing) put(ctx context.Context, changes []document) error {
	if err := w.look(ctx, changes); err != nil {
		return err
	}
	var gone, written, added []int64
	texts := make(map[int64]string)
	for _, d := range changes {
		id, there, err := w.slot(ctx, d)
		if err != nil {
			return err
		}
		if there {
			gone = append(gone, id)
		}
		switch {
		case d.words != "":
			w.taken[id], texts[id] = d, d.words
			added = append(added, id)
		case there:
			w.taken[id] = document{}
		default:
			continue
		}
		written = append(written, id)
	}
	if err := w.exec(ctx, "DELETE FROM texts WHERE rowid IN (", ")", "?", len(gone), func(i int) []any { return []any{gone[i]} }); err != nil {
		return err
	}
	err := w.exec(ctx, "INSERT OR REPLACE INTO documents (id, conversation, place) VALUES ", "", "(?,?,?)", len(written), func(i int) []any {
		d := w.taken[written[i]]
		return []any{written[i], d.conversation, d.place}
	})
	if err != nil {
		return err
	}
	return w.exec(ctx, "INSERT INTO texts (rowid, words) VALUES ", "", "(?,?)", len(added), func(i int) []any {
		return []any{added[i], texts[added[i]]}
	})
}

// look reads who has the first slots of the changes, all at once: most are free.
func (w *writing) look(ctx context.Context, changes []document) error {
	var ids []any
	for _, d := range changes {
		ids = append(ids, d.id(w.account, 0))
	}
	w.asked = make(map[int64]bool, len(ids))
	for _, id := range ids {
		w.asked[id.(int64)] = true
	}
	for len(ids) > 0 {
		n := min(len(ids), maxVariables)
		if err := w.read(ctx, ids[:n]); err != nil {
			return err
		}
		ids = ids[n:]
	}
	return nil
}

func (w *writing) read(ctx context.Context, ids []any) error {
	query := "SELECT id, conversation, place FROM documents WHERE id IN (" + strings.Repeat("?,", len(ids)-1) + "?)"
	_, err := all(ctx, w.tx, func(rows *sql.Rows) (none struct{}, err error) {
		var id int64
		var d document
		err = rows.Scan(&id, &d.conversation, &d.place)
		w.taken[id] = d
		return none, err
	}, query, ids...)
	return err
}

// slot returns where a document is, or is to be, and whether it is there.
func (w *writing) slot(ctx context.Context, d document) (id int64, there bool, err error) {
	free := int64(0)
	for attempt := range maxAttempts {
		id = d.id(w.account, attempt)
		if !w.asked[id] {
			if err := w.read(ctx, []any{id}); err != nil {
				return 0, false, err
			}
			w.asked[id] = true
		}
		has, taken := w.taken[id]
		switch {
		case !taken && free == 0:
			return id, false, nil
		case !taken:
			return free, false, nil
		case has.conversation == d.conversation && has.place == d.place:
			return id, true, nil
		case has.conversation == 0 && free == 0:
			free = id // who had it is gone; the document may still be in a later one
		}
	}
	if free == 0 {
		return 0, false, fmt.Errorf("%w: no place for a message sent at %d", errDamaged, d.sent)
	}
	return free, false, nil
}

// maxVariables is how many rows a statement has at most.
const maxVariables = 500

// exec carries out a statement with a list of n rows, in several steps when it is long.
func (w *writing) exec(ctx context.Context, before, after, row string, n int, values func(i int) []any) error {
	for first := 0; first < n; first += maxVariables {
		last := min(first+maxVariables, n)
		var args []any
		for i := first; i < last; i++ {
			args = append(args, values(i)...)
		}
		query := before + strings.Repeat(row+",", last-first-1) + row + after
		if _, err := w.tx.ExecContext(ctx, query, args...); err != nil {
			return err
		}
	}
	return nil
}

// removeConversation removes the documents of a conversation, some at a time: repeating it
// after a crash goes on.
func (x *index) removeConversation(ctx context.Context, conversation int64) error {
	return x.removeChunks(ctx, func(tx *sql.Tx) ([]int64, error) {
		return all(ctx, tx, scanNumber, "SELECT id FROM documents WHERE conversation = ? LIMIT ?", conversation, chunk)
	}, keepSlots)
}

// keepSlots is the statement that removes documents and keeps their slots.
const keepSlots = "UPDATE documents SET conversation = 0, place = 0 WHERE id IN ("

// removeMessages removes the messages of a conversation up to a place, as removeConversation
// does.
func (x *index) removeMessages(ctx context.Context, conversation, upto int64) error {
	return x.removeChunks(ctx, func(tx *sql.Tx) ([]int64, error) {
		return all(ctx, tx, scanNumber, "SELECT id FROM documents WHERE conversation = ? AND place BETWEEN 1 AND ? LIMIT ?", conversation, upto, chunk)
	}, keepSlots)
}

// removeAccount removes all that the index has of an account.
func (x *index) removeAccount(ctx context.Context, key identity.PublicKey) error {
	c, err := cursorOf(ctx, x.write, key)
	if err != nil || c.account == 0 {
		return err
	}
	first, last := c.account<<accountShift, lastID(c.account, maxSeconds)
	err = x.removeChunks(ctx, func(tx *sql.Tx) ([]int64, error) {
		return all(ctx, tx, scanNumber, "SELECT id FROM documents WHERE id BETWEEN ? AND ? ORDER BY id LIMIT ?", first, last, chunk)
	}, "DELETE FROM documents WHERE id IN (")
	if err != nil {
		return err
	}
	clear(x.numbers)
	return x.inTransaction(ctx, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, "DELETE FROM conversations WHERE account = ?", c.account)
		if err == nil {
			_, err = tx.ExecContext(ctx, "DELETE FROM accounts WHERE n = ?", c.account)
		}
		return err
	})
}

// removeChunks removes the documents that next returns until there are none.
func (x *index) removeChunks(ctx context.Context, next func(*sql.Tx) ([]int64, error), statement string) error {
	for more := true; more; {
		err := x.inTransaction(ctx, func(tx *sql.Tx) error {
			ids, err := next(tx)
			if more = len(ids) > 0; err != nil || !more {
				return err
			}
			w := writing{tx: tx}
			value := func(i int) []any { return []any{ids[i]} }
			if err := w.exec(ctx, "DELETE FROM texts WHERE rowid IN (", ")", "?", len(ids), value); err != nil {
				return err
			}
			return w.exec(ctx, statement, ")", "?", len(ids), value)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// found is a document that a search has found.
type found struct {
	id           int64
	conversation store.ConversationID
	place        uint64
}

// search returns documents with ids from first to last, the last ones first. An empty
// expression asks for all of them.
func (x *index) search(ctx context.Context, expression string, first, last int64, limit int) ([]found, error) {
	inner, args := "SELECT rowid FROM texts WHERE texts MATCH ? AND rowid BETWEEN ? AND ? ORDER BY rowid DESC LIMIT ?", []any{expression, first, last, limit}
	if expression == "" {
		inner, args = "SELECT id AS rowid FROM documents WHERE conversation > 0 AND id BETWEEN ? AND ? ORDER BY id DESC LIMIT ?", args[1:]
	}
	return all(ctx, x.read, func(rows *sql.Rows) (f found, err error) {
		var raw []byte
		var place int64
		if err = rows.Scan(&f.id, &raw, &place); err == nil && (len(raw) != len(f.conversation) || place < 0) {
			err = errDamaged
		}
		copy(f.conversation[:], raw)
		f.place = uint64(place) //nolint:gosec // not negative
		return f, err
	}, "SELECT t.rowid, c.id, d.place FROM ("+inner+") t JOIN documents d ON d.id = t.rowid JOIN conversations c ON c.n = d.conversation ORDER BY t.rowid DESC", args...)
}
