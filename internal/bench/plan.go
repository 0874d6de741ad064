package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

// terraformDataName is the row of the resource that is built into Terraform
// and does nothing: what a plan costs without us.
const terraformDataName = "terraform_data"

const schedulesConfig = `terraform {
  required_providers {
    envbackup = { source = "envbackup/envbackup" }
  }
}

resource "envbackup_environment" "shop" {
  name  = "shop"
  files = { app = { path = %q } }
}

resource "envbackup_schedule" "bench" {
  count        = %d
  name         = "nightly-${count.index}"
  environment  = envbackup_environment.shop.name
  destinations = ["local"]
  cron         = "${count.index %% 60} 2 * * *"
  timezone     = "Europe/Berlin"
  retention    = { period = "30d", keep_monthly = 12 }
  lint_ignore  = ["recovery-key-missing"]
}
`

const terraformDataConfig = `resource "terraform_data" "bench" {
  count = %d
  input = {
    name         = "nightly-${count.index}"
    environment  = "shop"
    destinations = ["local"]
    cron         = "${count.index %% 60} 2 * * *"
    timezone     = "Europe/Berlin"
    retention    = { period = "30d", keep_monthly = 12 }
  }
}
`

// plan measures a plan of many schedules in which nothing has changed, against
// a real daemon, and the same with as many of Terraform's own resources.
func plan(b *bench, ctx context.Context, _ discipline, r *result) (err error) {
	terraform := findTerraform()
	if terraform == "" {
		b.progress("  no terraform here: left out")
		return nil
	}
	r.files = b.extent.Schedules
	home := filepath.Join(b.dir, "plan")
	if err := os.MkdirAll(filepath.Join(home, "source"), 0o755); err != nil {
		return err
	}
	b.progress("  build the provider")
	binary := filepath.Join(home, "terraform-provider-envbackup")
	if err := buildProvider(ctx, binary); err != nil {
		return err
	}
	if _, _, err := run(ctx, command{args: []string{binary, "terraform", "install"}, env: environment(home)}); err != nil {
		return err
	}
	daemon, err := startDaemon(ctx, binary)
	if err != nil {
		return err
	}
	defer daemon.child.Stop()

	env := environment(home, "CHECKPOINT_DISABLE=1", "ENVBACKUP_ENDPOINT="+daemon.endpoint, "ENVBACKUP_TOKEN_FILE="+daemon.tokenFile)
	sides := []struct{ name, config string }{
		{oursName, fmt.Sprintf(schedulesConfig, filepath.Join(home, "source"), b.extent.Schedules)},
		{terraformDataName, fmt.Sprintf(terraformDataConfig, b.extent.Schedules)},
	}
	call := func(side string, args ...string) command {
		return command{args: append([]string{terraform, "-chdir=" + filepath.Join(home, side)}, args...), env: env}
	}
	for _, side := range sides {
		b.progress("  apply %d: %s", b.extent.Schedules, side.name)
		if err := os.MkdirAll(filepath.Join(home, side.name), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(home, side.name, "main.tf"), []byte(side.config), 0o644); err != nil {
			return err
		}
		if _, _, err := run(ctx, call(side.name, "init", "-input=false", "-no-color")); err != nil {
			return err
		}
		if _, _, err := run(ctx, call(side.name, "apply", "-auto-approve", "-input=false", "-no-color")); err != nil {
			return err
		}
	}
	for round := range b.extent.Rounds {
		for i := range sides {
			side := sides[(i+round)%len(sides)].name
			settle()
			// A plan that is not empty ends with status 2, which is a failure.
			s, _, err := run(ctx, call(side, "plan", "-detailed-exitcode", "-input=false", "-no-color"))
			if err != nil {
				return err
			}
			r.add(side, s)
			b.progress("  round %d of %d: %s", round+1, b.extent.Rounds, side)
		}
	}
	return nil
}

// findTerraform returns the program that the acceptance tests use, or "".
func findTerraform() string {
	for _, name := range []string{os.Getenv("TF_ACC_TERRAFORM_PATH"), "terraform", "tofu"} {
		if path, err := exec.LookPath(name); name != "" && err == nil {
			return path
		}
	}
	return ""
}

func buildProvider(ctx context.Context, target string) error {
	root, err := tooltest.Root()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-C", root, "-trimpath", "-ldflags", "-s -w", "-o", target, ".")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the provider: %w: %s", err, strings.TrimSpace(string(out)))
	}
	return nil
}

// daemon is a real daemon that ends with this process.
type daemon struct {
	child               *tooltest.Child
	endpoint, tokenFile string
}

// daemonPatience bounds how long a daemon may take to be ready.
const daemonPatience = time.Minute

// startDaemon starts a daemon and waits until it answers.
func startDaemon(ctx context.Context, binary string) (*daemon, error) {
	child, err := tooltest.StartChild(tooltest.Command{
		Name: "bench-daemon", Signal: "TERM",
		Args: func(dir string) []string {
			return []string{binary, "daemon", "--dev", "--data-dir", filepath.Join(dir, "data"), "--listen", "127.0.0.1:0"}
		},
	})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, daemonPatience)
	defer cancel()
	// It announces itself in its output, which is a file.
	again := time.NewTicker(20 * time.Millisecond)
	defer again.Stop()
	for {
		for line := range strings.Lines(child.Log()) {
			if endpoint, ok := strings.CutPrefix(strings.TrimSpace(line), "ready http"); ok {
				return &daemon{child: child, endpoint: "http" + endpoint, tokenFile: filepath.Join(child.Dir, "data", "admin.token")}, nil
			}
		}
		select {
		case <-again.C:
		case <-child.Done():
			return nil, fmt.Errorf("start the daemon: %w: %s", errors.Join(errors.New("it ended"), child.Err()), child.Log())
		case <-ctx.Done():
			child.Stop()
			return nil, fmt.Errorf("start the daemon: %w: %s", context.Cause(ctx), child.Log())
		}
	}
}
