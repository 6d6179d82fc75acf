// SPDX-License-Identifier: MPL-2.0

// Package status checks docs/protocol-status.md: every row has a proof, and every
// proof exists.
package status
