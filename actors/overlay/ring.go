// SPDX-License-Identifier: MPL-2.0

package overlay

// ring is a queue that reuses its memory. The zero value is empty. Callers
// bound its length.
type ring[T any] struct {
	items   []T
	head, n int
}

// ringKeep is the capacity that trim leaves to an empty ring.
const ringKeep = 8

func (r *ring[T]) len() int { return r.n }

// at returns the i-th item from the front. The pointer is valid until the next
// push or pop.
func (r *ring[T]) at(i int) *T { return &r.items[(r.head+i)%len(r.items)] }

func (r *ring[T]) front() *T { return r.at(0) }

func (r *ring[T]) back() *T { return r.at(r.n - 1) }

func (r *ring[T]) push(item T) {
	if r.n == len(r.items) {
		larger := make([]T, max(4, 2*r.n))
		for i := range r.n {
			larger[i] = *r.at(i)
		}
		r.items, r.head = larger, 0
	}
	r.n++
	*r.back() = item
}

func (r *ring[T]) pop() T {
	item := *r.front()
	var zero T
	*r.front() = zero
	r.head = (r.head + 1) % len(r.items)
	r.n--
	return item
}

// trim gives memory back when the ring is empty.
func (r *ring[T]) trim() {
	if r.n == 0 && len(r.items) > ringKeep {
		r.items, r.head = nil, 0
	}
}
