package runner

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/envbackup/terraform-provider-envbackup/internal/archiver"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// sources returns what the environment has to read, in a fixed order. A path
// that the operator does not allow or that does not exist fails the run before
// any destination is touched: a backup without it would look like one.
func (r *Runner) sources(env envbackup.Environment) ([]archiver.Source, error) {
	if len(env.Files) == 0 {
		return nil, &envbackup.Error{
			Code:    envbackup.CodeInvalid,
			Message: fmt.Sprintf("environment %q has nothing to back up", env.Name),
			Hint:    "give it a files source",
		}
	}
	names := make([]string, 0, len(env.Files))
	for name := range env.Files {
		names = append(names, name)
	}
	slices.Sort(names)

	sources := make([]archiver.Source, 0, len(names))
	for _, name := range names {
		files := env.Files[name]
		if err := r.cfg.AllowRead(files.Path); err != nil {
			return nil, err
		}
		if _, err := os.Lstat(files.Path); errors.Is(err, fs.ErrNotExist) {
			return nil, sourceMissing(files.Path, err)
		}
		sources = append(sources, archiver.Source{Root: files.Path, Exclude: files.Exclude})
	}
	return sources, nil
}

func sourceMissing(path string, err error) error {
	return &envbackup.Error{
		Code:    envbackup.CodeSourceMissing,
		Message: fmt.Sprintf("%s does not exist on this worker; nothing was backed up and nothing removed", path),
		Hint:    "mount or create it, or correct the environment's path",
		Err:     err,
	}
}
