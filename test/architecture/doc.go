// SPDX-License-Identifier: MPL-2.0

// Package architecture tests that docs/architecture.md shows the packages as they are:
// which imports which, in layers, and that none has grown beyond what a person reads
// in an afternoon. It has no code of its own.
package architecture
