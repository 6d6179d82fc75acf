// SPDX-License-Identifier: MPL-2.0

// Command plots draws the pictures of docs/performance.md from results of the benchmarks
// that are kept in docs/measured: the lines "bench NAME ..." as make bench and make
// bench-growth print them. The same results give the same bytes, and a test compares the
// pictures in docs/pictures with what the results give.
//
//	make performance-pictures
//
// Nothing of it is in mimird.
package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	root := flag.String("root", ".", "the repository")
	flag.Parse()
	if err := run(*root); err != nil {
		fmt.Fprintln(os.Stderr, "plots:", err)
		os.Exit(1)
	}
}

// run writes the pictures of a repository.
func run(root string) error {
	pictures, err := draw(os.DirFS(root))
	if err != nil {
		return err
	}
	for name, raw := range pictures {
		if err := os.WriteFile(filepath.Join(root, name), raw, 0o644); err != nil { //nolint:gosec // as the other files of the repository
			return err
		}
	}
	return nil
}
