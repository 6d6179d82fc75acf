// SPDX-License-Identifier: MPL-2.0

// Package lru is the one bounded table of this program: what strangers can fill, such as
// what is remembered of their nodes, is kept in it. It imports the standard library only.
package lru

import (
	"container/list"
	"iter"
)

// Table maps keys to values, at most a number of them: another one evicts the entry that
// was used least recently. It is not safe for concurrent use.
type Table[K comparable, V any] struct {
	max     int
	entries map[K]*list.Element
	order   list.List // of *entry[K, V], the one used last first
}

type entry[K comparable, V any] struct {
	key   K
	value V
}

// New returns an empty table of at most that many entries, which must be positive.
func New[K comparable, V any](most int) *Table[K, V] {
	return &Table[K, V]{max: most, entries: make(map[K]*list.Element)}
}

// Get returns the value of a key; false without one. It counts as a use.
func (t *Table[K, V]) Get(key K) (value V, ok bool) {
	place := t.entries[key]
	if place == nil {
		return value, false
	}
	t.order.MoveToFront(place)
	return place.Value.(*entry[K, V]).value, true
}

// Peek is [Table.Get] that does not count as a use.
func (t *Table[K, V]) Peek(key K) (value V, ok bool) {
	place := t.entries[key]
	if place == nil {
		return value, false
	}
	return place.Value.(*entry[K, V]).value, true
}

// Put sets the value of a key, which counts as a use, and returns the value of the entry
// that it evicted; false without one.
func (t *Table[K, V]) Put(key K, value V) (evicted V, ok bool) {
	if place := t.entries[key]; place != nil {
		place.Value.(*entry[K, V]).value = value
		t.order.MoveToFront(place)
		return evicted, false
	}
	t.entries[key] = t.order.PushFront(&entry[K, V]{key, value})
	if t.order.Len() <= t.max {
		return evicted, false
	}
	last := t.order.Remove(t.order.Back()).(*entry[K, V])
	delete(t.entries, last.key)
	return last.value, true
}

// Delete removes the entry of a key, when there is one.
func (t *Table[K, V]) Delete(key K) {
	if place := t.entries[key]; place != nil {
		t.order.Remove(place)
		delete(t.entries, key)
	}
}

// Len returns the number of entries.
func (t *Table[K, V]) Len() int { return t.order.Len() }

// All returns the entries, the one used last first, which does not count as a use. The
// table must not change meanwhile.
func (t *Table[K, V]) All() iter.Seq2[K, V] {
	return func(yield func(K, V) bool) {
		for place := t.order.Front(); place != nil; place = place.Next() {
			if e := place.Value.(*entry[K, V]); !yield(e.key, e.value) {
				return
			}
		}
	}
}
