package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

func (a *app) keyCommand() *cobra.Command {
	return group("key", "Show the password of a repository, for the vault", a.keyShowCommand())
}

func (a *app) keyShowCommand() *cobra.Command {
	var environment, destination string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "show --environment E --destination D",
		Short: "Print a repository's password and nothing else (needs an admin's token)",
		Long: `Print the password of the repository that holds an environment's backups at a
destination, and nothing else. Keep it where you keep what must survive a fire:
with it and the bucket, stock restic restores everything without the daemon.`,
		Example: "  envbackup key show --environment shop-staging --destination primary",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if environment == "" || destination == "" {
				return usageError{fmt.Errorf("--environment and --destination are required")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			key, err := c.Key(cmd.Context(), environment, destination)
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(key)
			}
			fmt.Fprintln(a.out, key.Password)
			return nil
		},
	}
	cmd.Flags().StringVar(&environment, "environment", "", "the environment (required)")
	cmd.Flags().StringVar(&destination, "destination", "", "the destination (required)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON, with the repository's address for restic -r")
	a.completeFlag(cmd, "environment", a.environmentNames)
	a.completeFlag(cmd, "destination", a.destinationNames)
	return cmd
}

func (a *app) tokenCommand() *cobra.Command {
	return group("token", "Make, list and revoke API tokens (needs an admin's token)",
		a.tokenCreateCommand(), a.tokenListCommand(), a.tokenRevokeCommand())
}

func (a *app) tokenCreateCommand() *cobra.Command {
	var role, name string
	cmd := &cobra.Command{
		Use:   "create --name NAME --role ROLE",
		Short: "Make a token and print it; it is shown this once",
		Long: `Make a token and print it; it is shown this once, the daemon keeps a hash.

The first token is the daemon's own: its file admin.token in the data directory.
  viewer    reads
  operator  also changes what is declared, runs and restores
  admin     also tokens, repository passwords and the deletion of backups`,
		Example: "  envbackup token create --name terraform --role operator",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usageError{fmt.Errorf("--name is required: it stands in the audit log")}
			}
			c, err := a.client()
			if err != nil {
				return err
			}
			token, err := c.CreateToken(cmd.Context(), wire.TokenInput{Name: name, Role: envbackup.Role(role)})
			if err != nil {
				return err
			}
			fmt.Fprintln(a.out, token.Token)
			return nil
		},
	}
	cmd.Flags().StringVar(&name, "name", "", "name of the token, for the audit log (required)")
	cmd.Flags().StringVar(&role, "role", "operator", "viewer, operator or admin")
	return cmd
}

func (a *app) tokenListCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "List tokens, without their texts",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			tokens, err := c.Tokens(cmd.Context())
			if err != nil {
				return err
			}
			if asJSON {
				return a.printJSON(tokens.Items)
			}
			var rows [][]string
			for _, t := range tokens.Items {
				rows = append(rows, []string{t.Name, string(t.Role), moment(t.CreatedAt), t.ID})
			}
			return a.table([]string{"NAME", "ROLE", "CREATED", "ID"}, rows)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) tokenRevokeCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "revoke NAME|ID",
		Short: "Revoke a token at once",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.client()
			if err != nil {
				return err
			}
			if err := c.DeleteToken(cmd.Context(), args[0]); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s is revoked\n", args[0])
			return nil
		},
	}
}
