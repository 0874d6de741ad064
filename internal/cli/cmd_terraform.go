package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
)

// providerHosts are the registry host names under which Terraform and
// OpenTofu look for source = "envbackup/envbackup".
var providerHosts = []string{"registry.terraform.io", "registry.opentofu.org"}

func (a *app) terraformCommand() *cobra.Command {
	return group("terraform", "Set up Terraform and OpenTofu on this machine", a.terraformInstallCommand())
}

func (a *app) terraformInstallCommand() *cobra.Command {
	var dir string
	cmd := &cobra.Command{
		Use:   "install",
		Short: "Link this program into the user's plugin directory as the Terraform provider",
		Long: `Link this program into the user's plugin directory as the Terraform provider, for
Terraform's and OpenTofu's registry names. After that "terraform init" finds the
provider here and asks no registry; no CLI configuration is needed.

An existing link of the same version is replaced. A lock file that an earlier
program of the same version wrote must be deleted (.terraform.lock.hcl):
Terraform refuses a provider whose checksum has changed.`,
		Example: `  envbackup terraform install
  envbackup terraform install --dir ./terraform.d/plugins`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if dir == "" {
				home, err := os.UserHomeDir()
				if err != nil {
					return fmt.Errorf("find the home directory: %w", err)
				}
				dir = filepath.Join(home, ".terraform.d", "plugins")
			}
			program, err := os.Executable()
			if err != nil {
				return fmt.Errorf("find this program's file: %w", err)
			}
			if program, err = filepath.EvalSymlinks(program); err != nil {
				return fmt.Errorf("find this program's file: %w", err)
			}
			version := pluginVersion(a.version)
			for _, host := range providerHosts {
				link, err := installProvider(dir, host, version, program)
				if err != nil {
					return err
				}
				fmt.Fprintln(a.out, link)
			}
			fmt.Fprintf(a.out, "\nInstalled as version %s. In a configuration:\n\n%s\n\nThen run: terraform init\n", version, indent(fmt.Sprintf(`terraform {
  required_providers {
    envbackup = { source = "envbackup/envbackup", version = "%s" }
  }
}`, version), "  "))
			return nil
		},
	}
	cmd.Flags().StringVar(&dir, "dir", "", "plugin directory (default ~/.terraform.d/plugins)")
	return cmd
}

// installProvider makes the link for one registry host and returns its path.
func installProvider(dir, host, version, program string) (string, error) {
	folder := filepath.Join(dir, host, "envbackup", "envbackup", version, runtime.GOOS+"_"+runtime.GOARCH)
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return "", fmt.Errorf("create the plugin directory: %w", err)
	}
	link := filepath.Join(folder, "terraform-provider-envbackup_v"+version)
	if runtime.GOOS == "windows" {
		link += ".exe"
	}
	// The link is made beside its place and renamed, so that a Terraform that
	// runs meanwhile sees the old one or the new one.
	temporary := link + ".new"
	if err := os.Remove(temporary); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("remove an unfinished link: %w", err)
	}
	if err := os.Symlink(program, temporary); err != nil {
		return "", fmt.Errorf("link the provider: %w", err)
	}
	if err := os.Rename(temporary, link); err != nil {
		return "", fmt.Errorf("link the provider: %w", err)
	}
	return link, nil
}

var (
	releaseVersion = regexp.MustCompile(`^\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?$`)
	// gitSuffix is what "git describe --dirty" puts behind the last tag.
	gitSuffix = regexp.MustCompile(`(-\d+-g[0-9a-f]+)?(-dirty)?$`)
)

// pluginVersion makes the version that Terraform's plugin directory needs. A
// build between two releases counts as the earlier one and one without any as
// 0.0.1, because Terraform selects a pre-release only when it is asked for by
// name, and never 0.0.0, which it takes for "no version".
func pluginVersion(version string) string {
	version = gitSuffix.ReplaceAllString(strings.TrimPrefix(version, "v"), "")
	if releaseVersion.MatchString(version) {
		return version
	}
	return "0.0.1"
}
