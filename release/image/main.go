// SPDX-License-Identifier: MPL-2.0

// Command image writes a container image of mimird as an OCI archive, for several
// architectures, without a container engine:
//
//	go run . -version 1.2.3 -epoch 1700000000 -out mimird.oci.tar amd64=PATH arm64=PATH
//
// Each PATH is a static binary. The same input makes the same bytes. It is a module of its
// own, so that the program does not depend on what only a release needs.
package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// user is who runs mimird in the container, with a number that nobody else has.
const user = 65532

func main() {
	version := flag.String("version", "", "version of the program")
	epoch := flag.Int64("epoch", 0, "time of everything in the image, in seconds since 1970")
	roots := flag.String("roots", "/etc/ssl/certs/ca-certificates.crt", "certificates of authorities that the program believes")
	out := flag.String("out", "", "archive to write")
	flag.Parse()
	if err := write(*out, *roots, *version, time.Unix(*epoch, 0).UTC(), flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func write(out, roots, version string, when time.Time, binaries []string) error {
	if out == "" || version == "" || len(binaries) == 0 {
		return errors.New("want -version, -out and binaries such as amd64=PATH")
	}
	certificates, err := os.ReadFile(roots)
	if err != nil {
		return fmt.Errorf("read certificates: %w", err)
	}
	slices.Sort(binaries)
	index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
	for _, binary := range binaries {
		architecture, path, ok := strings.Cut(binary, "=")
		if !ok {
			return fmt.Errorf("%s: want ARCHITECTURE=PATH", binary)
		}
		program, err := os.ReadFile(path)
		if err != nil {
			return fmt.Errorf("read the program: %w", err)
		}
		image, err := imageOf(program, certificates, architecture, version, when)
		if err != nil {
			return fmt.Errorf("%s: %w", architecture, err)
		}
		index = mutate.AppendManifests(index, mutate.IndexAddendum{
			Add:        image,
			Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
		})
	}
	return archive(out, index, version, when)
}

// imageOf makes the image for one architecture: the program, certificates, and nothing else.
func imageOf(program, certificates []byte, architecture, version string, when time.Time) (v1.Image, error) {
	layer, err := layerOf(program, certificates, when)
	if err != nil {
		return nil, err
	}
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if image, err = mutate.Append(image, mutate.Addendum{
		Layer: layer, MediaType: types.OCILayer, History: v1.History{Created: v1.Time{Time: when}, CreatedBy: "release/image"},
	}); err != nil {
		return nil, err
	}
	return mutate.ConfigFile(image, withConfig(image, architecture, version, when))
}

func withConfig(image v1.Image, architecture, version string, when time.Time) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		panic(err) // it is in memory
	}
	config = config.DeepCopy()
	config.OS, config.Architecture, config.Created = "linux", architecture, v1.Time{Time: when}
	config.Config = v1.Config{
		User:       fmt.Sprintf("%d:%[1]d", user),
		Env:        []string{"PATH=/usr/bin", "MIMIRD_DATA=/data"},
		Entrypoint: []string{"/usr/bin/mimird"},
		Cmd:        []string{"up"},
		WorkingDir: "/data",
		Volumes:    map[string]struct{}{"/data": {}},
		StopSignal: "SIGTERM",
		Healthcheck: &v1.HealthConfig{
			Test: []string{"CMD", "/usr/bin/mimird", "health"}, Interval: time.Minute, Timeout: 10 * time.Second, StartPeriod: 5 * time.Minute,
		},
		Labels: map[string]string{
			"org.opencontainers.image.title":    "mimird",
			"org.opencontainers.image.version":  version,
			"org.opencontainers.image.licenses": "MPL-2.0",
		},
	}
	return config
}

// layerOf makes the files of the image.
func layerOf(program, certificates []byte, when time.Time) (v1.Layer, error) {
	var b bytes.Buffer
	files := tar.NewWriter(&b)
	for _, f := range []struct {
		name  string
		mode  int64
		owner int
		data  []byte // nil for a directory
	}{
		{"data/", 0o700, user, nil},
		{"etc/", 0o755, 0, nil},
		{"etc/group", 0o644, 0, []byte(fmt.Sprintf("root:x:0:\nmimird:x:%d:\n", user))},
		{"etc/passwd", 0o644, 0, []byte(fmt.Sprintf("root:x:0:0:root:/:/nologin\nmimird:x:%d:%[1]d:mimird:/data:/nologin\n", user))},
		{"etc/ssl/", 0o755, 0, nil},
		{"etc/ssl/certs/", 0o755, 0, nil},
		{"etc/ssl/certs/ca-certificates.crt", 0o644, 0, certificates},
		{"tmp/", 0o1777, 0, nil},
		{"usr/", 0o755, 0, nil},
		{"usr/bin/", 0o755, 0, nil},
		{"usr/bin/mimird", 0o755, 0, program},
	} {
		header := &tar.Header{Name: f.name, Mode: f.mode, Uid: f.owner, Gid: f.owner, ModTime: when, Size: int64(len(f.data)), Typeflag: tar.TypeReg}
		if f.data == nil {
			header.Typeflag = tar.TypeDir
		}
		if err := files.WriteHeader(header); err != nil {
			return nil, err
		}
		if _, err := files.Write(f.data); err != nil {
			return nil, err
		}
	}
	if err := files.Close(); err != nil {
		return nil, err
	}
	return tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil },
		tarball.WithMediaType(types.OCILayer))
}

// archive writes an index as an OCI layout in a tar file.
func archive(out string, index v1.ImageIndex, version string, when time.Time) (err error) {
	dir, err := os.MkdirTemp("", "image")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	path, err := layout.Write(dir, empty.Index)
	if err != nil {
		return err
	}
	if err := path.AppendIndex(index, layout.WithAnnotations(map[string]string{"org.opencontainers.image.ref.name": version})); err != nil {
		return err
	}
	file, err := os.Create(out)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, file.Close()) }()
	files := tar.NewWriter(file)
	err = filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: filepath.ToSlash(name), Mode: 0o644, ModTime: when, Size: int64(len(data)), Typeflag: tar.TypeReg}
		if err := files.WriteHeader(header); err != nil {
			return err
		}
		_, err = files.Write(data)
		return err
	})
	return errors.Join(err, files.Close())
}
