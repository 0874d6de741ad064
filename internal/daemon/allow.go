package daemon

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// allowList is an operator's list of directories. What lies in one of them is
// allowed, wherever symbolic links on the way lead: both the path as written
// and the place it leads to must be inside.
type allowList struct {
	setting string // allow_read or allow_restore
	verb    string // "back up" or "restore to"
	dirs    []string
	all     bool
}

// check returns nil when path is allowed, and otherwise CodeNotAllowed with
// the line to add.
func (l allowList) check(path string) error {
	if l.all {
		return nil
	}
	clean := filepath.Clean(path)
	written := slices.ContainsFunc(l.dirs, func(dir string) bool { return within(filepath.Clean(dir), clean) })
	place := resolve(clean)
	led := slices.ContainsFunc(l.dirs, func(dir string) bool { return within(resolve(dir), place) })
	if filepath.IsAbs(path) && written && led {
		return nil
	}
	message := fmt.Sprintf("the daemon's operator does not allow it to %s %s", l.verb, clean)
	if written && !led {
		message += fmt.Sprintf(", which leads to %s", place)
		clean = place
	}
	return &envbackup.Error{
		Code:    envbackup.CodeNotAllowed,
		Message: message,
		Hint:    fmt.Sprintf("Add to the daemon's configuration file: %s: [%s]", l.setting, clean),
	}
}

// endpointList is an operator's list of S3 endpoints; an empty one allows all.
type endpointList []string

// check takes an endpoint as a destination writes it; the empty one is AWS's
// own, by region.
func (l endpointList) check(endpoint string) error {
	same := func(allowed string) bool { return strings.TrimRight(allowed, "/") == strings.TrimRight(endpoint, "/") }
	if len(l) == 0 || slices.ContainsFunc(l, same) {
		return nil
	}
	if endpoint == "" {
		endpoint = "https://s3.amazonaws.com"
		if slices.ContainsFunc(l, same) {
			return nil
		}
	}
	return &envbackup.Error{
		Code:    envbackup.CodeNotAllowed,
		Message: fmt.Sprintf("the daemon's operator does not allow the endpoint %s", endpoint),
		Hint:    fmt.Sprintf("Add to the daemon's configuration file: allow_endpoints: [%s]", endpoint),
	}
}

// within reports whether path is dir or lies in it; both are clean.
func within(dir, path string) bool {
	return path == dir || dir == "/" || strings.HasPrefix(path, dir+"/")
}

// resolve follows the symbolic links of the part of path that exists. A path
// that cannot be followed stays as it is.
func resolve(path string) string {
	path = filepath.Clean(path)
	place, err := filepath.EvalSymlinks(path)
	if err == nil {
		return place
	}
	if parent := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) && parent != path {
		// A link whose target is missing must not pass for a plain name: a
		// restore would create the target.
		if target, err := os.Readlink(path); err == nil {
			if !filepath.IsAbs(target) {
				target = filepath.Join(parent, target)
			}
			return filepath.Clean(target)
		}
		return filepath.Join(resolve(parent), filepath.Base(path))
	}
	return path
}
