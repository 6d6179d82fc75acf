// SPDX-License-Identifier: MPL-2.0

// Package config reads and checks mimird's one configuration file.
//
// The file is YAML. Every key has a default, so an empty file is valid; the
// commented [Example] shows all of them and equals [Default], which a test
// holds. Unknown keys are errors that name the line and the nearest known key,
// and [Parse] reports everything that is wrong at once, because an operator who
// edits a file over ssh wants one round, not five.
//
// Only cmd imports this package: every other part takes a plain Options struct.
// The matrix section is kept as it stands and handed to the bridge, which knows
// its own format.
package config
