// SPDX-License-Identifier: MPL-2.0

// Package backup is the format of a backup: everything of a data directory in one
// file.
//
// It is a tar archive of the directory's files, compressed with zstd, and as a rule
// encrypted with a passphrase (age, https://age-encryption.org/v1), because the
// keys of identities are in it. Tools that people have can open it: age, zstd, tar.
// The last entry, mimird-backup.json ([About]), has the size and SHA-256 of every
// other one: a backup that was cut short or changed is not restored.
//
// The package knows nothing of what the files are. Where they come from while a
// node runs is [github.com/mimird/mimird/actors/node.Node.Snapshot].
package backup
