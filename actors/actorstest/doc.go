// SPDX-License-Identifier: MPL-2.0

// Package actorstest builds worlds of nodes for tests: real nodes with real
// databases in memory, over the in-memory twin of the overlay, with a tracker that is one of
// them. Tests over a real Yggdrasil network are in test/scenario.
package actorstest
