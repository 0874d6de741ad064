// Package cli is the command line: flags, output and exit codes, one file for
// each command. It decides nothing about backups: commands ask the daemon
// through package client, and the few that work without one (cron, restore
// from a repository, terraform install) call the packages that the daemon
// itself uses.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// app is what the commands share: where to print, and how the daemon is found.
type app struct {
	version string
	in      io.Reader
	out     io.Writer
	err     io.Writer
	// terminal says that err is a terminal: long work then shows a bar there
	// instead of lines.
	terminal bool

	endpoint  string
	tokenFile string
	token     string
	caFile    string
}

// Execute runs the command line and returns the process's exit code.
// SIGINT and SIGTERM cancel the command; it is then given the time that it
// needs to leave nothing half done.
func Execute(ctx context.Context, version string, args []string) int {
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM)
	defer stop()
	a := &app{version: version, in: os.Stdin, out: os.Stdout, err: os.Stderr, terminal: isTerminal(os.Stderr)}
	return a.run(ctx, args)
}

// run executes args and reports a failure on a.err.
func (a *app) run(ctx context.Context, args []string) int {
	root := a.root()
	root.SetArgs(args)
	root.SetIn(a.in)
	root.SetOut(a.out)
	root.SetErr(a.err)
	err := root.ExecuteContext(ctx)
	if err != nil {
		a.printError(err)
	}
	return exitCode(err)
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "envbackup",
		Short: "Backups as code: schedules declared in Terraform, taken by a daemon, restorable with stock restic",
		Long: `envbackup takes, keeps, checks and restores backups that are declared in Terraform.

Every backup is an ordinary restic repository: with its password and the
restic program, nothing of envbackup is needed to restore.

Commands that ask the daemon find it by --endpoint, --token-file and --ca-file
or by ENVBACKUP_ENDPOINT, ENVBACKUP_TOKEN, ENVBACKUP_TOKEN_FILE and
ENVBACKUP_CA_FILE, the same that the Terraform provider reads.

` + exitCodesHelp,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	flags := root.PersistentFlags()
	flags.StringVar(&a.endpoint, "endpoint", "", "address of the daemon, http(s)://host:port or unix:///path (ENVBACKUP_ENDPOINT, default "+client.DefaultEndpoint+")")
	flags.StringVar(&a.token, "token", "", "the API token itself (ENVBACKUP_TOKEN); other users of this machine can see it in the list of processes, so prefer a file")
	flags.StringVar(&a.tokenFile, "token-file", "", "file that holds the API token (ENVBACKUP_TOKEN_FILE; ENVBACKUP_TOKEN holds the token itself)")
	flags.StringVar(&a.caFile, "ca-file", "", "PEM file of the certificate authority that signed the daemon's certificate (ENVBACKUP_CA_FILE)")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usageError{fmt.Errorf("%w\nRun '%s --help' for the flags", err, cmd.CommandPath())}
	})

	root.AddCommand(
		a.daemonCommand(), a.terraformCommand(),
		a.schedulesCommand(), a.runsCommand(), a.backupsCommand(), a.verificationsCommand(),
		a.restoreCommand(), a.pruneCommand(), a.checkCommand(), a.repairCommand(), a.keyCommand(), a.tokenCommand(),
		a.cronCommand(), a.retentionCommand(), a.versionCommand(),
	)
	checkUsage(root)
	return root
}

// checkUsage turns the errors of argument counts and unknown subcommands,
// which cobra does not mark, into usage errors (exit code 2).
func checkUsage(cmd *cobra.Command) {
	if check := cmd.Args; check != nil {
		cmd.Args = func(cmd *cobra.Command, args []string) error {
			if err := check(cmd, args); err != nil {
				return usageError{fmt.Errorf("%w\nRun '%s --help' for the usage", err, cmd.CommandPath())}
			}
			return nil
		}
	}
	for _, sub := range cmd.Commands() {
		checkUsage(sub)
	}
}

// group makes a command that only holds others.
func group(use, short string, subs ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(subs...)
	return cmd
}

// client connects to the daemon that flags and environment name. Nothing is
// sent yet.
func (a *app) client() (*client.Client, error) {
	endpoint := firstOf(a.endpoint, os.Getenv("ENVBACKUP_ENDPOINT"), client.DefaultEndpoint)
	token, err := a.apiToken()
	if err != nil {
		return nil, err
	}
	return client.New(client.Config{
		Endpoint:  endpoint,
		Token:     token,
		CAFile:    firstOf(a.caFile, os.Getenv("ENVBACKUP_CA_FILE")),
		UserAgent: "envbackup/" + a.version,
	})
}

// apiToken reads the token. A flag wins over the environment, and the token
// itself over a file.
func (a *app) apiToken() (secret.String, error) {
	if a.token != "" {
		return secret.New(a.token), nil
	}
	if a.tokenFile == "" {
		if token := os.Getenv("ENVBACKUP_TOKEN"); token != "" {
			return secret.New(token), nil
		}
	}
	file := firstOf(a.tokenFile, os.Getenv("ENVBACKUP_TOKEN_FILE"))
	if file == "" {
		return secret.String{}, nil
	}
	return readSecretFile(file, "token")
}

// firstOf returns the first value that is not empty.
func firstOf(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// usageError marks wrong usage for the exit code.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }

// printError shows err as a person reads it: what is wrong, then where, then
// the next step.
func (a *app) printError(err error) {
	var silent silentError
	if errors.As(err, &silent) {
		return
	}
	var e *envbackup.Error
	if !errors.As(err, &e) {
		fmt.Fprintln(a.err, "Error:", err)
		return
	}
	findings := e.Findings
	if i := slices.IndexFunc(findings, func(f envbackup.Finding) bool { return f.Severity == envbackup.SeverityError }); i >= 0 && says(findings[i], e.Message) {
		// The message is the first finding: it need not stand twice.
		fmt.Fprintf(a.err, "Error: %s: %s\n", firstOf(findings[i].Path, "input"), findings[i].Summary)
		if findings[i].Detail != "" {
			fmt.Fprintln(a.err, indent(findings[i].Detail, "  "))
		}
		findings = slices.Delete(slices.Clone(findings), i, i+1)
	} else {
		fmt.Fprintln(a.err, "Error:", err)
	}
	for _, f := range findings {
		fmt.Fprintf(a.err, "  %s %s: %s\n", f.Severity, firstOf(f.Path, "input"), f.Summary)
		if f.Detail != "" {
			fmt.Fprintln(a.err, indent(f.Detail, "    "))
		}
	}
	if e.Hint != "" {
		fmt.Fprintln(a.err, e.Hint)
	}
}

// says reports whether a message only repeats a finding.
func says(f envbackup.Finding, message string) bool {
	return message == f.Summary || message == f.Detail || message == f.Summary+": "+f.Detail
}

// silentError is a failure whose message has been printed already.
type silentError struct{ error }

func (e silentError) Unwrap() error { return e.error }
