package cli

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/dustin/go-humanize"
	"golang.org/x/term"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

// printJSON writes v as one indented document.
func (a *app) printJSON(v any) error {
	enc := json.NewEncoder(a.out)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// table prints rows under a heading in aligned columns.
func (a *app) table(heading []string, rows [][]string) error {
	w := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, strings.Join(heading, "\t"))
	for _, row := range rows {
		for i, cell := range row {
			// A name may hold any text; a tab or a line break in it must not
			// shift the table.
			row[i] = strings.Map(func(r rune) rune {
				if r < ' ' || r == 0x7f {
					return '?'
				}
				return r
			}, cell)
		}
		fmt.Fprintln(w, strings.Join(row, "\t"))
	}
	return w.Flush()
}

// moment is how tables write an instant: in the reader's zone, to the second.
func moment(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// momentOrDash is moment for an instant that may be missing.
func momentOrDash(t *time.Time) string {
	if t == nil {
		return "-"
	}
	return moment(*t)
}

// ago writes how long before now an instant lies.
func ago(t time.Time) string { return humanize.RelTime(t, time.Now(), "ago", "from now") }

// size writes bytes for people.
func size(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// count writes a number of things: "1 file", "2 files".
func count(n int64, thing string) string {
	if n == 1 {
		return "1 " + thing
	}
	return fmt.Sprintf("%d %ss", n, thing)
}

// indent puts prefix before each line of text.
func indent(text, prefix string) string {
	return prefix + strings.ReplaceAll(text, "\n", "\n"+prefix)
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// readSecretFile reads a secret from the file's first line. The error names
// the file, never its content.
func readSecretFile(path, what string) (secret.String, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return secret.String{}, usageError{fmt.Errorf("read the %s file: %w", what, err)}
	}
	line, _, _ := strings.Cut(string(data), "\n")
	line = strings.TrimRight(line, "\r")
	if line == "" {
		return secret.String{}, usageError{fmt.Errorf("the %s file %s is empty", what, path)}
	}
	return secret.New(line), nil
}

// notFound makes the error of a listing that must not be empty.
func notFound(message, hint string) error {
	return &envbackup.Error{Code: envbackup.CodeNotFound, Message: message, Hint: hint}
}
