package main

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"

	"github.com/envbackup/terraform-provider-envbackup/internal/provider"
	"github.com/envbackup/terraform-provider-envbackup/internal/tooltest"
)

// The rows beside ours: the resource that is built into Terraform and does
// nothing, which is what a plan costs without us; and our own provider as the
// SDK serves it, by the framework alone, with its default logging and garbage
// collection, which is what a plan would cost without our care.
const (
	terraformDataName = "terraform_data"
	sdkName           = "envbackup, SDK defaults"
)

const schedulesConfig = `terraform {
  required_providers {
    envbackup = { source = "envbackup/envbackup" }
  }
}

resource "envbackup_environment" "shop" {
  name  = "shop"
  files = { app = { path = %q } }
}

resource "envbackup_destination" "disk" {
  name  = "disk"
  local = { path = %q }
}

resource "envbackup_schedule" "bench" {
  count        = %d
  name         = "nightly-${count.index}"
  environment  = envbackup_environment.shop.name
  destinations = [envbackup_destination.disk.name]
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

// planner plans the same configurations again and again.
type planner struct {
	terraform string
	home      string // of ours and terraform_data; the SDK's has its own below
	env       []string
}

// plan measures a plan of many schedules in which nothing has changed, against
// a real daemon, and the same with as many of Terraform's own resources.
func plan(b *bench, ctx context.Context, _ discipline, r *result) error {
	p := planner{terraform: findTerraform(), home: filepath.Join(b.dir, "plan")}
	if p.terraform == "" {
		b.progress("  no terraform here: left out")
		return nil
	}
	r.files = b.extent.Schedules
	if err := os.MkdirAll(filepath.Join(p.home, "source"), 0o755); err != nil {
		return err
	}
	b.progress("  build the provider")
	binary := filepath.Join(p.home, "terraform-provider-envbackup")
	if err := buildProvider(ctx, binary); err != nil {
		return err
	}
	daemon, err := startDaemon(ctx, binary)
	if err != nil {
		return err
	}
	defer daemon.child.Stop()
	p.env = []string{"CHECKPOINT_DISABLE=1", "ENVBACKUP_ENDPOINT=" + daemon.endpoint, "ENVBACKUP_TOKEN_FILE=" + daemon.tokenFile}

	if _, _, err := run(ctx, command{args: []string{binary, "terraform", "install"}, env: environment(p.home)}); err != nil {
		return err
	}
	if err := installSDK(p.homeOf(sdkName), b.binary); err != nil {
		return err
	}
	n := b.extent.Schedules
	ours := fmt.Sprintf(schedulesConfig, filepath.Join(p.home, "source"), filepath.Join(p.home, "backups"), n)
	for _, side := range []struct{ name, config string }{
		{oursName, ours}, {terraformDataName, fmt.Sprintf(terraformDataConfig, n)}, {sdkName, ours},
	} {
		b.progress("  apply %d: %s", n, side.name)
		if err := p.prepare(ctx, side.name, side.config); err != nil {
			return err
		}
	}
	if err := p.measure(b, ctx, r); err != nil {
		return err
	}
	for _, side := range []string{oursName, sdkName} {
		if r.requests[side], err = p.requests(ctx, side, daemon.endpoint); err != nil {
			return err
		}
	}
	return nil
}

// homeOf returns the home directory in which the side's provider is installed.
func (p planner) homeOf(side string) string {
	if side == sdkName {
		return filepath.Join(p.home, "sdk-home")
	}
	return p.home
}

// dirOf returns the directory of the side's configuration.
func (p planner) dirOf(side string) string {
	if side == sdkName {
		return filepath.Join(p.home, "sdk")
	}
	return filepath.Join(p.home, side)
}

func (p planner) call(side string, env []string, args ...string) command {
	return command{
		args: append([]string{p.terraform, "-chdir=" + p.dirOf(side)}, args...),
		env:  environment(p.homeOf(side), env...),
	}
}

// prepare makes a configuration's directory and applies it. Both providers of
// ours manage the same schedules, so the second gets the state of the first.
func (p planner) prepare(ctx context.Context, side, config string) error {
	dir := p.dirOf(side)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "main.tf"), []byte(config), 0o644); err != nil {
		return err
	}
	if _, _, err := run(ctx, p.call(side, p.env, "init", "-input=false", "-no-color")); err != nil {
		return err
	}
	if side == sdkName {
		const state = "terraform.tfstate"
		content, err := os.ReadFile(filepath.Join(p.dirOf(oursName), state))
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, state), content, 0o644)
	}
	_, _, err := run(ctx, p.call(side, p.env, "apply", "-auto-approve", "-input=false", "-no-color"))
	return err
}

// plan makes one plan. A plan that is not empty ends with status 2, which is a
// failure.
func (p planner) plan(ctx context.Context, side string, env []string) (sample, error) {
	s, _, err := run(ctx, p.call(side, env, "plan", "-detailed-exitcode", "-input=false", "-no-color"))
	return s, err
}

func (p planner) measure(b *bench, ctx context.Context, r *result) error {
	sides := []string{oursName, terraformDataName, sdkName}
	for round := range b.extent.Rounds {
		for i := range sides {
			side := sides[(i+round)%len(sides)]
			settle()
			s, err := p.plan(ctx, side, p.env)
			if err != nil {
				return err
			}
			r.add(side, s)
			b.progress("  round %d of %d: %s", round+1, b.extent.Rounds, side)
		}
	}
	return nil
}

// requests counts what one plan asks of the daemon.
func (p planner) requests(ctx context.Context, side, endpoint string) (int, error) {
	target, err := url.Parse(endpoint)
	if err != nil {
		return 0, err
	}
	var n atomic.Int64
	proxy := &httputil.ReverseProxy{Rewrite: func(r *httputil.ProxyRequest) {
		n.Add(1)
		r.SetURL(target)
	}}
	server := httptest.NewServer(proxy)
	defer server.Close()
	_, err = p.plan(ctx, side, append(slices.Clone(p.env), "ENVBACKUP_ENDPOINT="+server.URL))
	return int(n.Load()), err
}

// installSDK installs this program as the provider for Terraform processes
// with this home directory.
func installSDK(home, binary string) error {
	for _, host := range []string{"registry.terraform.io", "registry.opentofu.org"} {
		dir := filepath.Join(home, ".terraform.d", "plugins", host, "envbackup", "envbackup", "0.0.1", runtime.GOOS+"_"+runtime.GOARCH)
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.Symlink(binary, filepath.Join(dir, "terraform-provider-envbackup_v0.0.1")); err != nil {
			return err
		}
	}
	return nil
}

// servedBySDK reports whether Terraform started this program as the provider
// that installSDK installed. If so it served, until Terraform was done.
func servedBySDK(args []string) (bool, error) {
	if len(args) > 0 || os.Getenv("TF_PLUGIN_MAGIC_COOKIE") != provider.MagicCookie {
		return false, nil
	}
	return true, tf6server.Serve(provider.Address, providerserver.NewProtocol6(provider.New("0.0.1")))
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
