package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/daemon"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

func (a *app) daemonCommand() *cobra.Command {
	var checkOnly bool
	cmd := &cobra.Command{
		Use:   "daemon",
		Short: "Run the backup daemon: scheduler, runs, retention and the HTTP API",
		Long: `Run the backup daemon: scheduler, runs, retention and the HTTP API.

It is configured by flags, by ENVBACKUP_* variables and by one YAML file; flags
win over variables, variables over the file. What may be read and restored to is
the operator's to say: without allow_read and allow_restore every path is
refused. With --dev everything lies in one directory and every path is allowed.

When it answers it prints "ready URL" on standard output; the log goes to
standard error. SIGTERM and SIGINT let running backups finish for a while.`,
		Example: `  envbackup daemon --dev --data-dir ./envbackup-data
  envbackup daemon --config /etc/envbackup/envbackup.yaml
  envbackup daemon --config /etc/envbackup/envbackup.yaml --check-config`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			config, err := daemon.Load(cmd.Flags(), os.LookupEnv)
			if err != nil {
				return manyFindings(err)
			}
			if checkOnly {
				fmt.Fprintln(a.out, "The configuration is valid.")
				return nil
			}
			config.Version, config.Stdout, config.Stderr = a.version, a.out, a.err
			return daemon.Run(cmd.Context(), config)
		},
	}
	daemon.AddFlags(cmd.Flags())
	cmd.Flags().BoolVar(&checkOnly, "check-config", false, "say what is wrong with the configuration, all at once, and exit")
	return cmd
}

// manyFindings gives an invalid configuration a heading of its own, because
// all its findings are listed below it.
func manyFindings(err error) error {
	var e *envbackup.Error
	if !errors.As(err, &e) || len(e.Findings) == 0 {
		return err
	}
	listed := *e
	listed.Message = fmt.Sprintf("the configuration has %d mistakes", len(e.Findings))
	if len(e.Findings) == 1 {
		listed.Message = "the configuration has a mistake"
	}
	return &listed
}
