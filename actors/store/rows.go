// SPDX-License-Identifier: MPL-2.0

package store

import (
	"bytes"
	"container/heap"
	"errors"
	"fmt"
	"io"
	"iter"

	"github.com/cockroachdb/pebble/v2"

	"github.com/mimird/mimird/proto/identity"
)

// rows is what reading needs of Pebble: the database itself in a txn, a snapshot
// everywhere else.
type rows interface {
	Get(key []byte) (value []byte, closer io.Closer, err error)
	NewIter(o *pebble.IterOptions) (*pebble.Iterator, error)
}

var (
	_ rows = (*pebble.DB)(nil)
	_ rows = (*pebble.Snapshot)(nil)
)

// getRow returns a copy of the value, or ErrNotFound.
func getRow(r rows, key []byte) ([]byte, error) {
	value, closer, err := r.Get(key)
	if err != nil {
		return nil, rowError("read", err)
	}
	defer closer.Close()
	return append(make([]byte, 0, len(value)), value...), nil
}

// loadRow reads and decodes.
func loadRow(r rows, key []byte, v any) error {
	raw, err := getRow(r, key)
	if err != nil {
		return err
	}
	return decode(raw, v)
}

// row is one row of a scan, valid until the scan goes on.
type row struct {
	key  []byte
	iter *pebble.Iterator
}

// value returns the value. Values that are not asked for are not read.
func (r row) value() ([]byte, error) {
	raw, err := r.iter.ValueAndErr()
	return raw, rowError("read", err)
}

// load decodes the value.
func (r row) load(v any) error {
	raw, err := r.value()
	if err != nil {
		return err
	}
	return decode(raw, v)
}

// number returns the number at the end of the key.
func (r row) number() uint64 { return trailingUint64(r.key) }

// scanPrefix iterates over the rows under a prefix, in order.
func scanPrefix(r rows, prefix []byte) iter.Seq2[row, error] {
	return scan(r, prefix, prefixEnd(prefix))
}

// scanAfter iterates over the rows under a prefix whose keys come after the
// given one.
func scanAfter(r rows, prefix, after []byte) iter.Seq2[row, error] {
	return scan(r, append(after[:len(after):len(after)], 0), prefixEnd(prefix))
}

// scan iterates over the rows from the key lower on and below upper, in order.
// An error is the last thing it yields.
func scan(r rows, lower, upper []byte) iter.Seq2[row, error] {
	return walk(r, lower, upper, (*pebble.Iterator).First, (*pebble.Iterator).Next)
}

// scanBack is scan in the other direction.
func scanBack(r rows, lower, upper []byte) iter.Seq2[row, error] {
	return walk(r, lower, upper, (*pebble.Iterator).Last, (*pebble.Iterator).Prev)
}

// scanKinds iterates over the rows of all conversations of an account in a table.
func scanKinds(r rows, account identity.PublicKey, table byte) iter.Seq2[row, error] {
	return eachKind(account, table, func(prefix []byte) iter.Seq2[row, error] { return scanPrefix(r, prefix) })
}

// scanConversations iterates over the last row of each conversation of an account in a
// table.
func scanConversations(r rows, account identity.PublicKey, table byte) iter.Seq2[row, error] {
	return eachKind(account, table, func(prefix []byte) iter.Seq2[row, error] { return scanLast(r, prefix, conversationSize) })
}

// eachKind scans the tables that the kinds of conversations have, one after the other.
func eachKind(account identity.PublicKey, table byte, scan func(prefix []byte) iter.Seq2[row, error]) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		for _, kind := range conversationKinds {
			for row, err := range scan(tablePrefix(account, tableFor(table, kind))) {
				if !yield(row, err) || err != nil {
					return
				}
			}
		}
	}
}

// scanLast iterates over the last row of each part of a prefix: the rows of a part have
// the same size bytes after the prefix. It seeks, so the rows between cost nothing.
func scanLast(r rows, prefix []byte, size int) iter.Seq2[row, error] {
	last := func(it *pebble.Iterator) bool {
		if len(it.Key()) < len(prefix)+size {
			return true // damaged; the reader of the key sees it
		}
		return it.SeekLT(prefixEnd(it.Key()[:len(prefix)+size]))
	}
	first := func(it *pebble.Iterator) bool { return it.First() && last(it) }
	next := func(it *pebble.Iterator) bool { return it.Next() && last(it) }
	return walk(r, prefix, prefixEnd(prefix), first, next)
}

// scanMerged iterates over the rows under several prefixes of the same length, in the
// order of what follows the prefix.
func scanMerged(r rows, prefixes [][]byte) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		var open sources
		defer func() {
			for _, s := range open {
				_ = s.Close() // its error is s.Error()
			}
		}()
		for _, prefix := range prefixes {
			it, err := r.NewIter(&pebble.IterOptions{LowerBound: prefix, UpperBound: prefixEnd(prefix)})
			if err != nil {
				yield(row{}, rowError("open iterator", err))
				return
			}
			open = append(open, source{it, len(prefix)})
			if it.First() {
				continue
			}
			if err := it.Error(); err != nil {
				yield(row{}, rowError("iterate", err))
				return
			}
			open = open[:len(open)-1]
			_ = it.Close() // its error is it.Error()
		}
		heap.Init(&open)
		for len(open) > 0 {
			first := open[0].Iterator
			if !yield(row{first.Key(), first}, nil) {
				return
			}
			if first.Next() {
				heap.Fix(&open, 0)
				continue
			}
			if err := first.Error(); err != nil {
				yield(row{}, rowError("iterate", err))
				return
			}
			heap.Remove(&open, 0)
			_ = first.Close() // its error is first.Error()
		}
	}
}

// source is an iterator at a row, and the length of its prefix.
type source struct {
	*pebble.Iterator
	prefix int
}

// sources is a heap, the one with the first row on top.
type sources []source

func (s sources) Len() int      { return len(s) }
func (s sources) Swap(i, j int) { s[i], s[j] = s[j], s[i] }
func (s sources) Less(i, j int) bool {
	return bytes.Compare(s[i].Key()[s[i].prefix:], s[j].Key()[s[j].prefix:]) < 0
}
func (s *sources) Push(x any) { *s = append(*s, x.(source)) }

func (s *sources) Pop() any {
	last := (*s)[len(*s)-1]
	*s = (*s)[:len(*s)-1]
	return last
}

func walk(r rows, lower, upper []byte, first, next func(*pebble.Iterator) bool) iter.Seq2[row, error] {
	return func(yield func(row, error) bool) {
		it, err := r.NewIter(&pebble.IterOptions{LowerBound: lower, UpperBound: upper})
		if err != nil {
			yield(row{}, rowError("open iterator", err))
			return
		}
		defer func() { _ = it.Close() }() // its error is it.Error()
		for valid := first(it); valid; valid = next(it) {
			if !yield(row{it.Key(), it}, nil) {
				return
			}
		}
		if err := it.Error(); err != nil {
			yield(row{}, rowError("iterate", err))
		}
	}
}

// lastNumber returns the number at the end of the last key under a prefix, 0 for
// none.
func lastNumber(r rows, prefix []byte) (uint64, error) {
	for row, err := range scanBack(r, prefix, prefixEnd(prefix)) {
		if err != nil {
			return 0, err
		}
		return row.number(), nil
	}
	return 0, nil
}

// MaxPage is the largest page, in rows. A larger limit is an error.
const MaxPage = 1024

// maxPageBytes ends a page early. A page ends at the limit the caller gave, 0 for
// MaxPage, or at maxPageBytes, whichever comes first; it has at least one row when
// there is one. Only an empty page means that there is no more.
const maxPageBytes = 8 << 20

// errSkip leaves a row out of a page.
var errSkip = errors.New("row left out")

// page reads rows until a page is full. The function turns one row into a value
// and says how large that is.
func page[T any](found iter.Seq2[row, error], limit int, read func(row) (value T, size int, err error)) ([]T, error) {
	switch {
	case limit > MaxPage:
		return nil, fmt.Errorf("%w: %w: %d rows, at most %d", ErrInvalid, errPageTooLarge, limit, MaxPage)
	case limit <= 0:
		limit = MaxPage
	}
	var values []T
	total := 0
	for row, err := range found {
		if err != nil {
			return nil, err
		}
		value, size, err := read(row)
		if errors.Is(err, errSkip) {
			continue
		}
		if err != nil {
			return nil, err
		}
		values = append(values, value)
		total += size
		if len(values) >= limit || total >= maxPageBytes {
			break
		}
	}
	return values, nil
}

// rowError translates Pebble's errors. It keeps nil.
func rowError(doing string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pebble.ErrNotFound):
		return ErrNotFound
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%s: %w: %w", doing, ErrCorrupt, err)
	default:
		return fmt.Errorf("%s: %w", doing, err)
	}
}
