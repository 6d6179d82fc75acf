// SPDX-License-Identifier: MPL-2.0

package actors

import (
	"bytes"
	"fmt"
	"image"
	_ "image/gif"  // what apps show
	_ "image/jpeg" //
	_ "image/png"  //
	"net/http"

	"github.com/mimird/mimird/proto/wire"
)

// CheckAvatar tells whether apps would show a picture as an avatar: a JPEG, PNG,
// GIF, WebP or BMP file of at most 50 KiB. Nothing at all is no avatar, and right.
// Its error is [ErrAvatar], in one sentence.
func CheckAvatar(picture []byte) error {
	if len(picture) == 0 {
		return nil
	}
	if len(picture) > wire.MaxAvatar {
		return fmt.Errorf("%w: it has %d bytes and apps take at most %d; make it smaller, for example 256 by 256 as a JPEG",
			ErrAvatar, len(picture), wire.MaxAvatar)
	}
	switch kind := http.DetectContentType(picture); kind {
	case "image/jpeg", "image/png", "image/gif":
		if _, _, err := image.DecodeConfig(bytes.NewReader(picture)); err != nil {
			return fmt.Errorf("%w: the file is damaged", ErrAvatar)
		}
		return nil
	case "image/webp", "image/bmp":
		return nil
	}
	return fmt.Errorf("%w: it is no JPEG, PNG, GIF, WebP or BMP file", ErrAvatar)
}
