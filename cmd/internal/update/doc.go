// SPDX-License-Identifier: MPL-2.0

// Package update tells whether there is a newer release. It reads a signed list of releases
// from a web server, when a person asks for it and never by itself, and installs nothing.
// The command mimird update check calls it; package list, a program, writes such a list for
// release/release.sh.
//
// The server and the network are not trusted: they can withhold the list, and that is said.
// They cannot invent a release, because the list is signed (minisign), and they cannot bring
// back an older list than the one seen last, whose date is kept in the data directory.
//
// The list is JSON in UTF-8, in releases.json, with its signature in releases.json.minisig
// beside it:
//
//	{
//	  "product": "mimird",
//	  "issued": "2026-11-30T12:00:00Z",       // when it was written; a later list has a later time
//	  "releases": [
//	    {"version": "0.2.0",                  // semantic version, without v
//	     "security": true,                    // it mends something that others can attack
//	     "url": "https://example.org/0.2.0"}  // the page of the release
//	  ]
//	}
//
// Further fields are ignored.
package update
