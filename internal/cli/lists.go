package cli

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

// pageSize is the largest page that the API gives.
const pageSize = 1000

// scheduleCall is a method of the client that acts on one schedule.
type scheduleCall func(c *client.Client, ctx context.Context, key string) (wire.Schedule, error)

// allPages collects every item of a paged list.
func allPages[T any](page func(cursor string) ([]T, string, error)) ([]T, error) {
	return firstItems(0, func(cursor string, _ int) ([]T, string, error) { return page(cursor) })
}

// firstItems collects the first limit items of a paged list; 0 is all. The
// result is never nil, so that JSON shows an empty list.
func firstItems[T any](limit int, page func(cursor string, n int) ([]T, string, error)) ([]T, error) {
	items := []T{}
	for cursor := ""; ; {
		n := pageSize
		if limit > 0 {
			n = min(n, limit-len(items))
		}
		more, next, err := page(cursor, n)
		if err != nil {
			return nil, err
		}
		items = append(items, more...)
		if next == "" || limit > 0 && len(items) >= limit {
			return items, nil
		}
		cursor = next
	}
}

// completion asks the daemon for the words that may stand somewhere. A daemon
// that does not answer completes nothing: the shell is no place for errors.
type completion func(ctx context.Context) []string

// completeFirst completes the first argument.
func (a *app) completeFirst(words completion) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return words(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	}
}

// completeFlag completes a flag's value.
func (a *app) completeFlag(cmd *cobra.Command, flag string, words completion) {
	err := cmd.RegisterFlagCompletionFunc(flag, func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		return words(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag does not exist: a mistake in this program
	}
}

func (a *app) environmentNames(ctx context.Context) []string {
	return complete(a, func(c *client.Client) ([]string, error) {
		page, err := c.Environments(ctx, wire.Page{Limit: pageSize})
		var names []string
		for _, e := range page.Items {
			names = append(names, e.Name)
		}
		return names, err
	})
}

func (a *app) destinationNames(ctx context.Context) []string {
	return complete(a, func(c *client.Client) ([]string, error) {
		page, err := c.Destinations(ctx, wire.Page{Limit: pageSize})
		var names []string
		for _, d := range page.Items {
			names = append(names, d.Name)
		}
		return names, err
	})
}

func (a *app) scheduleReferences(ctx context.Context) []string {
	return complete(a, func(c *client.Client) ([]string, error) {
		page, err := c.Schedules(ctx, wire.SchedulesQuery{Page: wire.Page{Limit: pageSize}})
		var names []string
		for _, s := range page.Items {
			names = append(names, s.Reference())
		}
		return names, err
	})
}

// restorable completes what restore takes.
func (a *app) restorable(ctx context.Context) []string {
	return append([]string{"latest"}, a.backupIDs(ctx)...)
}

func (a *app) backupIDs(ctx context.Context) []string {
	return complete(a, func(c *client.Client) ([]string, error) {
		page, err := c.Backups(ctx, wire.BackupsQuery{Page: wire.Page{Limit: 100}})
		var names []string
		for _, b := range page.Items {
			names = append(names, b.ID+"\t"+b.Environment+" "+moment(b.NominalAt))
		}
		return names, err
	})
}

// suspectIDs completes what acknowledge takes.
func (a *app) suspectIDs(ctx context.Context) []string {
	return complete(a, func(c *client.Client) ([]string, error) {
		page, err := c.Backups(ctx, wire.BackupsQuery{Page: wire.Page{Limit: 100}, Status: "suspect"})
		var names []string
		for _, b := range page.Items {
			names = append(names, b.ID+"\t"+b.Environment+" "+moment(b.NominalAt)+" "+size(b.Size))
		}
		return names, err
	})
}

func complete(a *app, ask func(*client.Client) ([]string, error)) []string {
	c, err := a.client()
	if err != nil {
		return nil
	}
	words, err := ask(c)
	if err != nil {
		return nil
	}
	return words
}
