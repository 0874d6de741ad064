package cli

import (
	"strings"
	"testing"
)

func TestS3AddressesAreReadAsResticReadsThem(t *testing.T) {
	t.Parallel()
	for address, want := range map[string][4]string{ // endpoint, bucket, prefix, region
		"https://s3.eu-central-1.amazonaws.com/acme/envbackup/shop": {"https://s3.eu-central-1.amazonaws.com", "acme", "envbackup/shop", "eu-central-1"},
		"s3.amazonaws.com/acme":            {"https://s3.amazonaws.com", "acme", "", ""},
		"http://127.0.0.1:7070/acme/shop/": {"http://127.0.0.1:7070", "acme", "shop", ""},
	} {
		o, err := parseS3Address(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if got := [4]string{o.Endpoint, o.Bucket, o.Prefix, o.Region}; got != want {
			t.Errorf("%s: %q, want %q", address, got, want)
		}
	}
	for _, address := range []string{"https://host", "https:///bucket", "ftp://host/bucket", "https://user:hunter2@host/bucket"} {
		_, err := parseS3Address(address)
		if err == nil {
			t.Errorf("%s: no error", address)
		} else if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: the error shows the password: %v", address, err)
		}
	}
}

func TestRestoreFlagsOfTheOtherWayAreRefused(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no target":                       {"restore", "latest"},
		"latest of nothing":               {"restore", "latest", "--target", "x"},
		"password file without":           {"restore", "latest", "--environment", "e", "--target", "x", "--password-file", "f"},
		"worker with a repository":        {"restore", "latest", "--target", "x", "--repository", "r", "--worker", "w"},
		"a repository without a password": {"restore", "latest", "--target", "x", "--repository", "r"},
		"another kind of repository":      {"restore", "latest", "--target", "x", "--repository", "sftp:host:/x", "--password-file", "/dev/null"},
	} {
		if code, _, stderr := runApp(t, "dev", args...); code != exitUsage {
			t.Errorf("%s: exit code %d, want %d: %s", name, code, exitUsage, stderr)
		}
	}
}
