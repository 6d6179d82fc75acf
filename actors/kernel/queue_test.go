// SPDX-License-Identifier: MPL-2.0

package kernel

import (
	"testing"

	"pgregory.net/rapid"
)

func TestQueueIsFirstInFirstOut(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q queue
		var model []int
		next := 0
		for range rapid.IntRange(1, 20).Draw(t, "rounds") {
			for range rapid.IntRange(0, 3*chunkLen).Draw(t, "push") {
				q.push(envelope{msg: next})
				model = append(model, next)
				next++
			}
			for range rapid.IntRange(0, 3*chunkLen).Draw(t, "pop") {
				if len(model) == 0 {
					break
				}
				if got := q.pop().msg; got != model[0] {
					t.Fatalf("got %v, want %v", got, model[0])
				}
				model = model[1:]
			}
			if q.len != len(model) {
				t.Fatalf("length %d, want %d", q.len, len(model))
			}
			if q.len == 0 && q != (queue{}) {
				t.Fatalf("an empty queue holds %+v", q)
			}
		}
	})
}

func TestChunksGoBackEmpty(t *testing.T) {
	var q queue
	for i := range 2 * chunkLen {
		q.push(envelope{msg: i})
	}
	first, second := q.head, q.tail
	for q.len > 0 {
		q.pop()
	}
	if *first != (chunk{}) || *second != (chunk{}) {
		t.Error("a chunk in the pool keeps others or messages alive")
	}
}
