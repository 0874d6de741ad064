package cli

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/envbackup/terraform-provider-envbackup/internal/cron"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/preflight"
)

func (a *app) cronCommand() *cobra.Command {
	return group("cron", "Read cron expressions as the scheduler does (needs no daemon)",
		a.cronNextCommand(), a.cronExplainCommand())
}

func (a *app) cronNextCommand() *cobra.Command {
	var (
		count    int
		timezone string
		after    string
		blackout []string
		asJSON   bool
	)
	cmd := &cobra.Command{
		Use:   "next EXPRESSION",
		Short: "Print the next runs of a cron expression, one RFC 3339 instant a line",
		Long: `Print the next runs of a cron expression, one RFC 3339 instant a line, in the
given time zone (UTC as Z). Daylight saving time is applied as the daemon does:
a time that the clock skips runs once right after the gap, a time that occurs
twice runs the first time only, and a schedule of every hour runs in every real
hour. With blackout windows the instants are those at which the runs really
start: skipped ones are missing, deferred ones are one at the window's end.

An invalid expression or zone prints why on standard error and exits with 2.`,
		Example: `  envbackup cron next --count 5 --timezone Europe/Berlin "30 2 * * *"
  envbackup cron next --after 2026-03-28T00:00:00Z "0 */6 * * *"
  envbackup cron next --blackout "MON-FRI 09:00-17:00" "0 * * * *"`,
		Args: oneExpression,
		RunE: func(_ *cobra.Command, args []string) error {
			if count < 1 || count > 10_000 {
				return usageError{fmt.Errorf("--count %d: give a number from 1 to 10000", count)}
			}
			from := time.Now()
			if after != "" {
				var err error
				if from, err = time.Parse(time.RFC3339, after); err != nil {
					return usageError{fmt.Errorf("--after %q is not an RFC 3339 instant, such as 2026-03-28T00:00:00Z", after)}
				}
			}
			if _, err := cron.LoadZone(timezone); err != nil {
				return usageError{err}
			}
			if _, err := cron.Parse(args[0]); err != nil {
				return usageError{err}
			}
			lines := []string{}
			windows, err := parseBlackout(blackout)
			if err != nil {
				return err
			}
			proposal := preflight.Proposal{Cron: &args[0], Timezone: &timezone, Jitter: new(string), Blackout: windows}
			if findings := preflight.Check(proposal, nil, nil); envbackup.HasError(findings) {
				return envbackup.Invalid(findings...)
			}
			runs, _, err := preflight.NextRuns(proposal, from, count)
			if err != nil {
				return fmt.Errorf("compute the next runs: %w", err)
			}
			for _, run := range runs {
				lines = append(lines, run.Start.Format(time.RFC3339))
			}
			if asJSON {
				return a.printJSON(lines)
			}
			fmt.Fprintln(a.out, strings.Join(lines, "\n"))
			return nil
		},
	}
	cmd.Flags().IntVarP(&count, "count", "n", 5, "how many runs")
	cmd.Flags().StringVar(&timezone, "timezone", "UTC", "IANA time zone of the schedule")
	blackoutFlag(cmd, &blackout)
	cmd.Flags().StringVar(&after, "after", "", "start strictly after this RFC 3339 instant (default: now)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a JSON list")
	return cmd
}

func blackoutFlag(cmd *cobra.Command, to *[]string) {
	cmd.Flags().StringArrayVar(to, "blackout", nil, `a window without runs, as "[DAYS ]FROM-TO[ skip|defer]", such as "MON-FRI 09:00-17:00 skip"; can be repeated`)
}

// parseBlackout reads the windows of --blackout. Whether days and times are
// right is for preflight to say.
func parseBlackout(texts []string) (map[string]envbackup.Blackout, error) {
	var windows map[string]envbackup.Blackout
	for i, text := range texts {
		var b envbackup.Blackout
		for _, word := range strings.Fields(text) {
			from, to, isTime := strings.Cut(word, "-")
			switch {
			case isTime && strings.Contains(word, ":") && b.From == "":
				b.From, b.To = from, to
			case b.From == "" && b.Days == "":
				b.Days = word
			case b.From != "" && b.Action == "":
				b.Action = word
			default:
				return nil, usageError{fmt.Errorf("--blackout %q: write [DAYS ]FROM-TO[ skip|defer], such as \"MON-FRI 09:00-17:00 skip\"", text)}
			}
		}
		if b.From == "" {
			return nil, usageError{fmt.Errorf("--blackout %q: the times are missing; write for example \"MON-FRI 09:00-17:00 skip\"", text)}
		}
		if windows == nil {
			windows = map[string]envbackup.Blackout{}
		}
		windows[fmt.Sprint(i+1)] = b
	}
	return windows, nil
}

// oneExpression asks for the quotes that a shell needs: without them each field
// is an argument, and * the names of the files here.
func oneExpression(_ *cobra.Command, args []string) error {
	if len(args) > 1 {
		return fmt.Errorf("the expression must be one argument, and there are %d: write it in quotes, such as \"30 2 * * *\"", len(args))
	}
	if len(args) == 0 {
		return fmt.Errorf("the expression is missing: write it in quotes, such as \"30 2 * * *\"")
	}
	return nil
}

// explanation is the stable document of `cron explain --json`.
type explanation struct {
	Valid       bool             `json:"valid"`
	Canonical   string           `json:"canonical,omitempty"`
	Description string           `json:"description,omitempty"`
	Warnings    *[]cronWarning   `json:"warnings,omitempty"` // a list, even an empty one, when valid
	Error       *explanationFail `json:"error,omitempty"`
}

type cronWarning struct {
	Rule    string `json:"rule"`
	Message string `json:"message"`
}

type explanationFail struct {
	Field   int    `json:"field"` // 1 to 5, or 0 for the expression as a whole
	Value   string `json:"value"`
	Message string `json:"message"`
}

func (a *app) cronExplainCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "explain EXPRESSION",
		Short: "Say in words when a cron expression runs, or what is wrong with it",
		Example: `  envbackup cron explain "0 3 * * 1-5"
  envbackup cron explain --json "61 * * * *"`,
		Args: oneExpression,
		RunE: func(_ *cobra.Command, args []string) error {
			schedule, err := cron.Parse(args[0])
			if err != nil {
				if !asJSON {
					return usageError{err}
				}
				fail := &explanationFail{Value: args[0], Message: err.Error()}
				var parse *cron.ParseError
				if errors.As(err, &parse) {
					fail.Field, fail.Message = parse.Field, joinHint(parse.Msg, parse.Hint)
					fail.Value = firstOf(parse.Value, args[0]) // field 0 is the expression as a whole
				}
				if err := a.printJSON(explanation{Error: fail}); err != nil {
					return err
				}
				return silentError{usageError{err}}
			}

			warnings := []cronWarning{}
			for _, w := range schedule.Warnings() {
				warnings = append(warnings, cronWarning{Rule: w.Rule, Message: w.Message})
			}
			if asJSON {
				return a.printJSON(explanation{Valid: true, Canonical: schedule.Canonical(), Description: schedule.Describe(), Warnings: &warnings})
			}
			fmt.Fprintln(a.out, schedule.Describe())
			if schedule.Canonical() != args[0] {
				fmt.Fprintln(a.out, "Canonical form:", schedule.Canonical())
			}
			for _, w := range warnings {
				fmt.Fprintf(a.out, "Warning (%s): %s\n", w.Rule, w.Message)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

// joinHint puts a hint behind a message.
func joinHint(message, hint string) string {
	if hint == "" {
		return message
	}
	return message + "; " + hint
}
