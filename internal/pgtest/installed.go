package pgtest

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
)

// findPrograms returns the directory of the newest installed server. Debian
// keeps it out of the search path, in a directory for each version.
func findPrograms() (string, error) {
	candidates, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	slices.SortFunc(candidates, func(a, b string) int { return version(b) - version(a) })
	if path, err := exec.LookPath("initdb"); err == nil {
		candidates = append(candidates, path)
	}
	for _, initdb := range candidates {
		initdb, err := filepath.EvalSymlinks(initdb)
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(filepath.Dir(initdb), "postgres")); err == nil {
			return filepath.Dir(initdb), nil
		}
	}
	return "", errors.New("find postgresql: no initdb here")
}

// version reads the number out of /usr/lib/postgresql/NUMBER/bin/initdb.
func version(initdb string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(initdb))))
	return n
}

// owner is the system's user that the server runs as.
type owner struct {
	switched bool // this process is root and becomes somebody else
	uid, gid int
}

func findAccount() (*owner, error) {
	if os.Geteuid() != 0 {
		return &owner{}, nil
	}
	account, err := user.Lookup(superuser)
	if err != nil {
		return nil, fmt.Errorf("find a user for postgresql, which refuses root: %w", err)
	}
	if _, err := exec.LookPath("setpriv"); err != nil {
		return nil, fmt.Errorf("find setpriv, by which root runs postgresql: %w", err)
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return nil, err
	}
	return &owner{switched: true, uid: uid, gid: gid}, nil
}

func (o *owner) give(path string) error {
	if !o.switched {
		return nil
	}
	return os.Chown(path, o.uid, o.gid)
}

func (o *owner) command(args ...string) []string {
	if !o.switched {
		return args
	}
	return append([]string{
		"setpriv", "--reuid=" + strconv.Itoa(o.uid), "--regid=" + strconv.Itoa(o.gid), "--clear-groups", "--inh-caps=-all",
	}, args...)
}
