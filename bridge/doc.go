// SPDX-License-Identifier: MPL-2.0

// Package bridge is work in progress; see the next commits.
package bridge
