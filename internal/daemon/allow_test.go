package daemon

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

func TestAllowList(t *testing.T) {
	t.Parallel()
	base, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	in := func(name string) string { return filepath.Join(base, name) }
	for _, dir := range []string{"allowed/deep", "allowed-not", "secret"} {
		if err := os.MkdirAll(in(dir), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	for link, target := range map[string]string{
		"allowed/out": in("secret"), "allowed/dangling": in("secret/later"), "allowed/inside": in("allowed/deep"),
		"allowed/relative": "../secret", "alias": in("allowed"),
	} {
		if err := os.Symlink(target, in(link)); err != nil {
			t.Fatal(err)
		}
	}

	tests := map[string]struct {
		dirs    []string
		path    string
		allowed bool
	}{
		"nothing is allowed without a list":             {nil, in("allowed"), false},
		"the directory itself":                          {[]string{in("allowed")}, in("allowed"), true},
		"what lies in it":                               {[]string{in("allowed")}, in("allowed/deep"), true},
		"what does not exist yet":                       {[]string{in("allowed")}, in("allowed/a/b/c"), true},
		"a name that begins alike":                      {[]string{in("allowed")}, in("allowed-not"), false},
		"a way out by dots":                             {[]string{in("allowed")}, in("allowed/../secret"), false},
		"a way out by a link":                           {[]string{in("allowed")}, in("allowed/out"), false},
		"a way out below a link":                        {[]string{in("allowed")}, in("allowed/out/x"), false},
		"a way out by a relative link":                  {[]string{in("allowed")}, in("allowed/relative"), false},
		"a way out by a link whose target is to come":   {[]string{in("allowed")}, in("allowed/dangling"), false},
		"a link that stays inside":                      {[]string{in("allowed")}, in("allowed/inside"), true},
		"another name of the directory is not the list": {[]string{in("allowed")}, in("alias/deep"), false},
		"a list entry that is a link":                   {[]string{in("alias")}, in("alias/deep"), true},
		"the second of two":                             {[]string{in("secret"), in("allowed")}, in("allowed"), true},
		"the root allows everything":                    {[]string{"/"}, in("secret"), true},
		"a slash at the end":                            {[]string{in("allowed") + "/"}, in("allowed/deep/"), true},
		"a relative path":                               {[]string{"/"}, "allowed", false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := allowList{setting: "allow_read", verb: "back up", dirs: tt.dirs}.check(tt.path)
			if (err == nil) != tt.allowed {
				t.Fatalf("check(%s) = %v, want allowed %t", tt.path, err, tt.allowed)
			}
			var e *envbackup.Error
			if err != nil && (!errors.As(err, &e) || e.Code != envbackup.CodeNotAllowed || !strings.Contains(e.Hint, "allow_read: [")) {
				t.Errorf("check(%s) = %#v, want path_not_allowed with the line to add", tt.path, err)
			}
		})
	}
}

func TestASecondDaemonIsRefusedWithThePIDOfTheFirst(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	release, err := takeDataDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	_, err = takeDataDir(dir)
	if envbackup.CodeOf(err) != envbackup.CodeConflict || !strings.Contains(err.Error(), "process "+strconv.Itoa(os.Getpid())) {
		t.Errorf("second take: got %v, want a conflict that names this process", err)
	}
	release()
	release, err = takeDataDir(dir)
	if err != nil {
		t.Fatalf("take after release: %v", err)
	}
	release()
}
