// SPDX-License-Identifier: MPL-2.0

//go:build !goolm || nocrypto

package bridge

// canEncrypt is whether this program can take part in encrypted rooms.
const canEncrypt = false
