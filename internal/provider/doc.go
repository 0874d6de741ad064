// Package provider is the Terraform face of envbackup. It turns configuration
// into calls of the daemon's HTTP API (package client) and findings into
// diagnostics at the right line. What is right or wrong about a schedule is
// decided in packages cron, retention and preflight, which daemon and console
// share; the provider decides only where in a plan each thing is said.
//
// Promises:
//   - Everything that a resource shows at plan is a pure function of
//     configuration and state. Terraform plans twice and refuses a provider
//     that answers differently.
//   - Findings that need no daemon are said without one.
//   - The daemon's absence is one message, not one for each resource.
//   - No secret reaches state, plan or diagnostic.
//
// Terraform calls resources concurrently; what they share is in session.
package provider
