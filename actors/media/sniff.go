// SPDX-License-Identifier: MPL-2.0

package media

import (
	"mime"
	"net/http"

	"github.com/gabriel-vasile/mimetype"
)

// Unknown is the type of a file that could be anything.
const Unknown = "application/octet-stream"

// sniff tells the type of a file by its first bytes, without parameters.
func sniff(head []byte) string {
	detected, _, err := mime.ParseMediaType(mimetype.Detect(head).String())
	if err != nil {
		return Unknown
	}
	return detected
}

// IsPicture reports whether apps show a file of that type as a picture.
func IsPicture(mimeType string) bool {
	switch mimeType {
	case "image/jpeg", "image/png", "image/gif", "image/webp", "image/bmp":
		return true
	}
	return false
}

// UsableAvatar returns a contact's avatar, or nil when apps would not show it. It
// goes by the magic number, as they do, and decodes nothing.
func UsableAvatar(picture []byte) []byte {
	if IsPicture(http.DetectContentType(picture)) {
		return picture
	}
	return nil
}
