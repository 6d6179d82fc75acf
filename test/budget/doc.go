// SPDX-License-Identifier: MPL-2.0

// Package budget measures what a node costs: memory and goroutines of sessions in
// which nothing happens, what is left of those that have come and gone, and the work
// of a node that has nothing to do. The node is a real one on a real Yggdrasil link;
// the phones at the other end run in a process of their own and do not count.
//
//	make budget               everything; fails when a figure is over its limit
//	go test ./test/budget     a few sessions and only what can be counted, as in make test
package budget
