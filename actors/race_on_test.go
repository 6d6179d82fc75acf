// SPDX-License-Identifier: MPL-2.0

//go:build race

package actors_test

const raceEnabled = true
