// SPDX-License-Identifier: MPL-2.0

// Package files is the protocol of file servers, and the encryption of the files
// on them.
package files
