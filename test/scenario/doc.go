// SPDX-License-Identifier: MPL-2.0

// Package scenario holds tests of many nodes over real Yggdrasil networks: real
// nodes in one process, linked over loopback in chains, stars and meshes, over links
// that hold or links that are cut again and again. Everybody writes to everybody;
// each scenario prints a line with what was lost and what was doubled.
//
//	make scenario                            the whole matrix
//	go test ./test/scenario                  a few of it, as in make test
//	go test ./test/scenario -all -seed 7     the matrix with the cuts of that seed
package scenario
