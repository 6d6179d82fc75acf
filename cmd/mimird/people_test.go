// SPDX-License-Identifier: MPL-2.0

package main

// People that scripts speak of: keys of RFC 8032, and one that is none.
const (
	bobKey   = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
	carolKey = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
	eveKey   = "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025"
	noKey    = "abababababababababababababababababababababababababababababababab"
)
