// Command envbackup is two programs in one binary: the Terraform provider,
// when Terraform starts it, and the command line with the backup daemon.
package main

import (
	"context"
	"fmt"
	"os"
	"slices"

	"github.com/envbackup/terraform-provider-envbackup/internal/cli"
	"github.com/envbackup/terraform-provider-envbackup/internal/provider"
)

// version is set by the linker on release.
var version = "dev"

func main() {
	args := os.Args[1:]
	switch {
	// Both signs are required. Terraform gives its plugins the cookie and no
	// arguments; a command that something below Terraform starts inherits the
	// cookie, so arguments win.
	case len(args) == 0 && os.Getenv("TF_PLUGIN_MAGIC_COOKIE") == provider.MagicCookie:
		serve(false)
	case len(args) > 0 && args[0] == "provider":
		serve(slices.Contains(args, "--debug"))
	default:
		os.Exit(cli.Execute(context.Background(), version, args))
	}
}

// serve runs the Terraform plugin. It installs no signal handler: Terraform
// stops its plugins itself, and a handler would swallow the SIGTERM that it
// may fall back on. Nothing is printed to standard output before the handshake.
func serve(debug bool) {
	if err := provider.Serve(context.Background(), version, debug); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
