package client

import (
	"context"
	"net/http"
	"net/url"

	"github.com/envbackup/terraform-provider-envbackup/internal/wire"
)

const root = "/api/v1"

// fetch sends a call and returns its document.
func fetch[T any](ctx context.Context, c *Client, in call) (T, error) {
	var out T
	err := c.do(ctx, in, &out)
	return out, err
}

func list[T any](ctx context.Context, c *Client, path string, query url.Values) (T, error) {
	return fetch[T](ctx, c, call{method: http.MethodGet, path: root + path, query: query})
}

func get[T any](ctx context.Context, c *Client, path string) (T, error) {
	return fetch[T](ctx, c, call{method: http.MethodGet, path: root + path})
}

func post[T any](ctx context.Context, c *Client, path string, body any) (T, error) {
	return fetch[T](ctx, c, call{method: http.MethodPost, path: root + path, body: body})
}

func put[T any](ctx context.Context, c *Client, path string, body any, ifVersion int64) (T, error) {
	return fetch[T](ctx, c, call{method: http.MethodPut, path: root + path, body: body, ifVersion: ifVersion})
}

func (c *Client) remove(ctx context.Context, path string, ifVersion int64) error {
	return c.do(ctx, call{method: http.MethodDelete, path: root + path, ifVersion: ifVersion}, nil)
}

// removeData is remove for what lies in repositories: no time limit but the
// context's.
func (c *Client) removeData(ctx context.Context, path string, ifVersion int64) error {
	return c.do(ctx, call{method: http.MethodDelete, path: root + path, ifVersion: ifVersion, unbounded: true}, nil)
}

// All collects every page of a list, each asked for with fetch:
//
//	schedules, err := client.All(ctx, func(ctx context.Context, page wire.Page) ([]wire.Schedule, string, error) {
//		p, err := c.Schedules(ctx, wire.SchedulesQuery{Page: page})
//		return p.Items, p.Cursor, err
//	})
func All[T any](ctx context.Context, fetch func(context.Context, wire.Page) ([]T, string, error)) ([]T, error) {
	var all []T
	page := wire.Page{Limit: 1000}
	for {
		items, next, err := fetch(ctx, page)
		if err != nil {
			return nil, err
		}
		all = append(all, items...)
		if next == "" {
			return all, nil
		}
		page.Cursor = next
	}
}

// Environments lists environments by name.
func (c *Client) Environments(ctx context.Context, query wire.Page) (wire.EnvironmentPage, error) {
	return list[wire.EnvironmentPage](ctx, c, "/environments", query.Values())
}

// Environment returns one environment. The key is its id or its name.
func (c *Client) Environment(ctx context.Context, key string) (wire.Environment, error) {
	return get[wire.Environment](ctx, c, "/environments/"+segment(key))
}

// CreateEnvironment makes an environment; a name that is taken is CodeConflict.
func (c *Client) CreateEnvironment(ctx context.Context, in wire.EnvironmentInput) (wire.Environment, error) {
	return post[wire.Environment](ctx, c, "/environments", in)
}

// PreflightEnvironment returns what would be said about an environment; wrong
// input is an answer with findings here, not an error.
func (c *Client) PreflightEnvironment(ctx context.Context, in wire.EnvironmentPreflight) (wire.Findings, error) {
	return post[wire.Findings](ctx, c, "/environments/preflight", in)
}

// UpdateEnvironment replaces an environment. A non-zero ifVersion that is no longer its
// version is CodeStale, and nothing is written.
func (c *Client) UpdateEnvironment(ctx context.Context, key string, in wire.EnvironmentInput, ifVersion int64) (wire.Environment, error) {
	return put[wire.Environment](ctx, c, "/environments/"+segment(key), in, ifVersion)
}

// DeleteEnvironment deletes an environment and keeps its backups; one that a schedule uses is
// CodeConflict. ifVersion is as for UpdateEnvironment.
func (c *Client) DeleteEnvironment(ctx context.Context, key string, ifVersion int64) error {
	return c.remove(ctx, "/environments/"+segment(key), ifVersion)
}

// Destinations lists destinations by name.
func (c *Client) Destinations(ctx context.Context, query wire.Page) (wire.DestinationPage, error) {
	return list[wire.DestinationPage](ctx, c, "/destinations", query.Values())
}

// Destination returns one destination. The key is its id or its name.
func (c *Client) Destination(ctx context.Context, key string) (wire.Destination, error) {
	return get[wire.Destination](ctx, c, "/destinations/"+segment(key))
}

// CreateDestination makes a destination; a name that is taken is CodeConflict.
func (c *Client) CreateDestination(ctx context.Context, in wire.DestinationInput) (wire.Destination, error) {
	return post[wire.Destination](ctx, c, "/destinations", in)
}

// PreflightDestination is PreflightEnvironment for a destination.
func (c *Client) PreflightDestination(ctx context.Context, in wire.DestinationPreflight) (wire.Findings, error) {
	return post[wire.Findings](ctx, c, "/destinations/preflight", in)
}

// UpdateDestination replaces a destination. A non-zero ifVersion that is no longer its
// version is CodeStale, and nothing is written.
func (c *Client) UpdateDestination(ctx context.Context, key string, in wire.DestinationInput, ifVersion int64) (wire.Destination, error) {
	return put[wire.Destination](ctx, c, "/destinations/"+segment(key), in, ifVersion)
}

// DeleteDestination deletes a destination and keeps its backups; one that a schedule uses is
// CodeConflict. ifVersion is as for UpdateDestination.
func (c *Client) DeleteDestination(ctx context.Context, key string, ifVersion int64) error {
	return c.remove(ctx, "/destinations/"+segment(key), ifVersion)
}
