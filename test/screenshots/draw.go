// SPDX-License-Identifier: MPL-2.0

package main

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/color"
	"image/png"
	"math"
)

// look is what a drawn face is made of.
type look struct {
	background, hair, skin, clothes color.RGBA
	// hairline is how far down the hair comes beside the face, 0 for short.
	hairline float64
}

var (
	looksOfAlice = look{rgb(0x7c9a92), rgb(0x8a3b12), rgb(0xf3c9a5), rgb(0x2f4858), 0.34}
	looksOfBob   = look{rgb(0xe0a458), rgb(0x2d2a32), rgb(0xd9a066), rgb(0x33658a), 0}
	looksOfCarol = look{rgb(0xb8a9c9), rgb(0x1b1b1e), rgb(0x9c6644), rgb(0xd1495b), 0.18}
)

func rgb(v uint32) color.RGBA {
	return color.RGBA{uint8(v >> 16), uint8(v >> 8), uint8(v), 0xff} //nolint:gosec // the bytes of a colour
}

// face draws a portrait.
func face(l look) []byte {
	in := func(x, y, cx, cy, rx, ry float64) bool {
		dx, dy := (x-cx)/rx, (y-cy)/ry
		return dx*dx+dy*dy < 1
	}
	return draw(160, 160, func(x, y float64) color.RGBA {
		switch {
		case in(x, y, 0.43, 0.45, 0.022, 0.028), in(x, y, 0.57, 0.45, 0.022, 0.028): // eyes
			return rgb(0x2b2118)
		case in(x, y, 0.5, 0.53, 0.075, 0.06) && y > 0.555: // mouth
			return rgb(0xa23b3b)
		case in(x, y, 0.5, 0.47, 0.17, 0.2) && y > 0.36-0.1*math.Abs(x-0.5): // face
			return l.skin
		case in(x, y, 0.5, 0.41, 0.21, 0.21) && y < 0.47,
			l.hairline > 0 && in(x, y, 0.5, 0.45, 0.23, 0.2+l.hairline) && y < 0.45+l.hairline: // hair
			if math.Abs(x-0.5) < 0.07 && y > 0.6 {
				return l.skin
			}
			return l.hair
		case math.Abs(x-0.5) < 0.07 && y > 0.6 && y < 0.76: // neck
			return l.skin
		case in(x, y, 0.5, 1.02, 0.36, 0.3): // clothes
			return l.clothes
		default:
			return l.background
		}
	})
}

// landscape draws a morning in the mountains.
func landscape() []byte {
	ridge := func(x, base, height, phase float64) float64 {
		return base - height*(0.55*math.Sin(3.1*x+phase)+0.3*math.Sin(7.3*x+2*phase)+0.15*math.Sin(17*x+3*phase))
	}
	ridges := []struct {
		base, height, phase float64
		color               color.RGBA
	}{
		{0.88, 0.06, 4.4, rgb(0x1d2b2a)},
		{0.74, 0.09, 2.1, rgb(0x35495e)},
		{0.6, 0.1, 0.3, rgb(0x6d7fa3)},
		{0.5, 0.1, 5.2, rgb(0xb69cb8)},
	}
	return draw(640, 330, func(x, y float64) color.RGBA {
		for _, r := range ridges {
			if y > ridge(x*1.6, r.base, r.height, r.phase) {
				return r.color
			}
		}
		if dx, dy := (x-0.68)*640/330, y-0.32; dx*dx+dy*dy < 0.006 {
			return rgb(0xfff3d1)
		}
		return mix(rgb(0x5b7db1), rgb(0xffc48a), min(1, y/0.5))
	})
}

// well draws Mimir's well from above.
func well() []byte {
	return draw(160, 160, func(x, y float64) color.RGBA {
		switch r := math.Hypot(x-0.5, y-0.5); {
		case r < 0.1:
			return rgb(0xe8f1f2)
		case r < 0.17, r > 0.24 && r < 0.29:
			return rgb(0x1b6b93)
		case r < 0.36:
			return rgb(0x4fc0d0)
		default:
			return rgb(0x164b60)
		}
	})
}

// score draws a sheet of music.
func score(width, height int) []byte {
	const staves, lines = 2, 5
	ratio := float64(width) / float64(height)
	notes := int(2 + 4*ratio)
	return draw(width, height, func(x, y float64) color.RGBA {
		for staff := range staves {
			top := 0.18 + 0.44*float64(staff)
			const gap = 0.055
			for n := range notes {
				cx := 0.12 + 0.8*(float64(n)+0.5)/float64(notes)
				cy := top + gap*(2+1.8*math.Sin(1.9*float64(n)+2.3*float64(staff)))
				dx, dy := (x-cx)*ratio, y-cy
				head := (dx*dx)/(0.034*0.034)+(dy*dy)/(0.025*0.025) < 1
				stem := math.Abs(dx-0.03) < 0.006 && dy < 0 && dy > -0.17
				if head || stem {
					return rgb(0x22303c)
				}
			}
			for line := range lines {
				if math.Abs(y-top-gap*float64(line)) < 0.004 && x > 0.05 && x < 0.95 {
					return rgb(0x8a7f6d)
				}
			}
		}
		return rgb(0xf6efdf)
	})
}

// hum makes a WAV of six seconds, of words that nobody understands.
func hum() []byte {
	const rate, length = 8000, 6 * 8000
	var out bytes.Buffer
	out.WriteString("RIFF")
	write := func(values ...any) {
		for _, v := range values {
			_ = binary.Write(&out, binary.LittleEndian, v) // a buffer takes everything
		}
	}
	write(uint32(36+length), []byte("WAVEfmt "), uint32(16), uint16(1), uint16(1), uint32(rate), uint32(rate), uint16(1), uint16(8))
	write([]byte("data"), uint32(length))
	for i := range length {
		t := float64(i) / rate
		loud := math.Abs(math.Sin(7*t)) * math.Abs(math.Sin(1.3*t))
		write(uint8(128 + 60*loud*math.Sin(2*math.Pi*(140+20*math.Sin(3*t))*t)))
	}
	return out.Bytes()
}

func mix(a, b color.RGBA, t float64) color.RGBA {
	at := func(a, b uint8) uint8 { return uint8(float64(a) + t*(float64(b)-float64(a))) }
	return color.RGBA{at(a.R, b.R), at(a.G, b.G), at(a.B, b.B), 0xff}
}

// draw makes a PNG of a function of the unit square, with soft edges.
func draw(width, height int, at func(x, y float64) color.RGBA) []byte {
	const fine = 3
	img := image.NewRGBA(image.Rect(0, 0, width, height))
	for py := range height {
		for px := range width {
			var r, g, b int
			for i := range fine * fine {
				c := at((float64(px)+(float64(i%fine)+0.5)/fine)/float64(width), (float64(py)+(float64(i/fine)+0.5)/fine)/float64(height))
				r, g, b = r+int(c.R), g+int(c.G), b+int(c.B)
			}
			const n = fine * fine
			img.SetRGBA(px, py, color.RGBA{uint8(r / n), uint8(g / n), uint8(b / n), 0xff}) //nolint:gosec // means of bytes
		}
	}
	var out bytes.Buffer
	if err := png.Encode(&out, img); err != nil {
		panic(err) // a buffer takes everything, and the size is right
	}
	return out.Bytes()
}
