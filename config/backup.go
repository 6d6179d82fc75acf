// SPDX-License-Identifier: MPL-2.0

package config

import (
	"time"
)

// Backup says where the node makes backups by itself, and which stay.
type Backup struct {
	// Target is a path or a URL, empty for none.
	Target string     `yaml:"target"`
	Every  Duration   `yaml:"every"`
	Keep   BackupKeep `yaml:"keep"`
	// TooOld is the age of the last good backup at which somebody should know.
	TooOld Duration `yaml:"too_old"`
	// PassphraseFile has the passphrase in its first line.
	PassphraseFile string     `yaml:"passphrase_path"`
	WithoutHosted  bool       `yaml:"without_hosted"`
	SFTP           BackupSFTP `yaml:"sftp"`
	S3             BackupS3   `yaml:"s3"`
}

// BackupKeep says which backups stay; one reason is enough.
type BackupKeep struct {
	Last    int `yaml:"last"`
	Daily   int `yaml:"daily"`
	Weekly  int `yaml:"weekly"`
	Monthly int `yaml:"monthly"`
}

// BackupSFTP is for targets that begin with sftp://.
type BackupSFTP struct {
	KeyFile      string `yaml:"key_path"`
	PasswordFile string `yaml:"password_path"`
	KnownHosts   string `yaml:"known_hosts"`
}

// BackupS3 is for targets that begin with s3://.
type BackupS3 struct {
	Endpoint      string `yaml:"endpoint"`
	Region        string `yaml:"region"`
	AccessKey     string `yaml:"access_key"`
	SecretKeyFile string `yaml:"secret_key_path"`
}

func defaultBackup() Backup {
	return Backup{
		Every: Duration(24 * time.Hour), Keep: BackupKeep{Last: 3, Daily: 7, Weekly: 4, Monthly: 6}, TooOld: Duration(72 * time.Hour),
	}
}

// validateBackup checks what the target does not: it checks the rest itself.
func (c *Config) validateBackup(bad func(format string, args ...any)) {
	b := c.Backup
	if every := time.Duration(b.Every); every < 10*time.Minute || every > 31*24*time.Hour {
		bad("backup.every: %v is not between 10m and 744h", every)
	}
	if b.TooOld < b.Every {
		bad("backup.too_old: %v is shorter than backup.every", time.Duration(b.TooOld))
	}
	if b.Keep.Last < 1 {
		bad("backup.keep.last: must be at least 1")
	}
	for _, count := range []struct {
		name  string
		count int
	}{
		{"daily", b.Keep.Daily},
		{"weekly", b.Keep.Weekly},
		{"monthly", b.Keep.Monthly},
	} {
		if count.count < 0 {
			bad("backup.keep.%s: must not be negative", count.name)
		}
	}
}
