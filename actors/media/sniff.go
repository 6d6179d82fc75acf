// SPDX-License-Identifier: MPL-2.0

package media

import (
	"errors"
	"image"
	_ "image/gif"  // the formats whose size PictureSize can tell
	_ "image/jpeg" // (same)
	_ "image/png"  // (same)
	"io"
	"mime"
	"net/http"

	"github.com/gabriel-vasile/mimetype"
)

// Unknown is the type of a file that could be anything.
const Unknown = "application/octet-stream"

// MaxPixels is the largest picture that anybody should decode.
const MaxPixels = 64 << 20

// ErrPicture says that a file is not a picture of a known format, or one that is too
// large to decode.
var ErrPicture = errors.New("not a picture of a reasonable size")

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

// PictureSize returns the width and height of a picture in pixels, read from its
// header. It decodes nothing. A picture of more than MaxPixels is [ErrPicture]: a
// small file can hold one.
func PictureSize(r io.Reader) (width, height int, err error) {
	config, _, err := image.DecodeConfig(io.LimitReader(r, 1<<20))
	if err != nil || config.Width <= 0 || config.Height <= 0 || config.Height > MaxPixels/config.Width {
		return 0, 0, ErrPicture
	}
	return config.Width, config.Height, nil
}
