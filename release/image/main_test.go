// SPDX-License-Identifier: MPL-2.0

package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"
)

func TestWrite(t *testing.T) {
	dir := t.TempDir()
	put := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
		return path
	}
	roots, when := put("roots", "certificates"), time.Unix(1_700_000_000, 0).UTC()
	binaries := []string{"arm64=" + put("two", "program for arm64"), "amd64=" + put("one", "program for amd64")}
	var archives [2][]byte
	for i := range archives {
		out := filepath.Join(dir, "out.tar")
		if err := write(out, roots, "1.2.3", when, binaries); err != nil {
			t.Fatal(err)
		}
		var err error
		if archives[i], err = os.ReadFile(out); err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(archives[0], archives[1]) {
		t.Error("the same input made other bytes")
	}

	unpacked := filepath.Join(dir, "layout")
	for name, data := range unpack(t, bytes.NewReader(archives[0])) {
		path := filepath.Join(unpacked, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data.data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	top, err := layout.ImageIndexFromPath(unpacked)
	if err != nil {
		t.Fatal(err)
	}
	manifest := manifestOf(t, top)
	if len(manifest.Manifests) != 1 || manifest.Manifests[0].Annotations["org.opencontainers.image.ref.name"] != "1.2.3" {
		t.Fatalf("the archive has %+v", manifest.Manifests)
	}
	index, err := top.ImageIndex(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index); err != nil {
		t.Error(err)
	}
	for i, want := range []string{"amd64", "arm64"} {
		descriptor := manifestOf(t, index).Manifests[i]
		if descriptor.Platform.Architecture != want {
			t.Errorf("image %d is for %s", i, descriptor.Platform)
		}
		image, err := index.Image(descriptor.Digest)
		if err != nil {
			t.Fatal(err)
		}
		check(t, image, want)
	}
	if err := write(filepath.Join(dir, "none.tar"), roots, "1.2.3", when, []string{"amd64"}); err == nil || !strings.Contains(err.Error(), "ARCHITECTURE=PATH") {
		t.Errorf("a binary without a path: %v", err)
	}
}

// check checks the image for one architecture.
func check(t *testing.T, image v1.Image, architecture string) {
	t.Helper()
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if config.Architecture != architecture || config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/usr/bin/mimird" {
		t.Errorf("%s: %+v", architecture, config.Config)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer content.Close()
	files := unpack(t, content)
	if program := files["usr/bin/mimird"]; string(program.data) != "program for "+architecture || program.Mode != 0o755 || program.Uid != 0 {
		t.Errorf("%s: the program is %q with %+v", architecture, program.data, program.Header)
	}
	if data := files["data/"]; data.Header == nil || data.Uid != user || data.Mode != 0o700 {
		t.Errorf("%s: the data directory is %+v", architecture, data.Header)
	}
}

func manifestOf(t *testing.T, index v1.ImageIndex) *v1.IndexManifest {
	t.Helper()
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	return manifest
}

type file struct {
	*tar.Header
	data []byte
}

func unpack(t *testing.T, archive io.Reader) map[string]file {
	t.Helper()
	files := make(map[string]file)
	for in := tar.NewReader(archive); ; {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		data, err := io.ReadAll(in)
		if err != nil {
			t.Fatal(err)
		}
		files[header.Name] = file{header, data}
	}
}
