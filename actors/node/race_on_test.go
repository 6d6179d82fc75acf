// SPDX-License-Identifier: MPL-2.0

//go:build race

package node_test

const raceEnabled = true
