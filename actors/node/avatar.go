// SPDX-License-Identifier: MPL-2.0

package node

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	_ "image/gif"  // the decoders of CheckAvatar
	_ "image/jpeg" // (same)
	_ "image/png"  // (same)
	"net/http"

	"github.com/mimird/mimird/actors/media"
	"github.com/mimird/mimird/proto/wire"
)

// CheckAvatar returns [ErrAvatar], with the reason in a phrase, when apps would not show a
// picture as an avatar: they show JPEG, PNG, GIF, WebP and BMP files of at most 50 KiB. No
// bytes mean that there is not one, which is valid.
func CheckAvatar(picture []byte) error {
	if len(picture) == 0 {
		return nil
	}
	if len(picture) > wire.MaxAvatar {
		return fmt.Errorf("%w: it has %d bytes and apps take at most %d; make it smaller, for example 256 by 256 as a JPEG",
			ErrAvatar, len(picture), wire.MaxAvatar)
	}
	if !media.IsPicture(http.DetectContentType(picture)) {
		return fmt.Errorf("%w: not a JPEG, PNG, GIF, WebP or BMP file", ErrAvatar)
	}
	// There is no decoder for WebP and BMP here.
	if _, _, err := image.DecodeConfig(bytes.NewReader(picture)); err != nil && !errors.Is(err, image.ErrFormat) {
		return fmt.Errorf("%w: the file is damaged", ErrAvatar)
	}
	return nil
}
