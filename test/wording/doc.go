// SPDX-License-Identifier: MPL-2.0

// Package wording checks what a machine can check of the language in docs/style.md:
// phrases and identifiers that have a better word, the form of log lines and their
// keys, and real sleeps in tests. It parses the sources and runs nothing; its tests
// are its only caller. Start reading at wording_test.go.
package wording
