package provider

import (
	"errors"
	"strconv"
	"strings"

	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/path"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
)

// addFindings reports findings at the attributes that they name.
func addFindings(diags *diag.Diagnostics, findings []envbackup.Finding) {
	for _, f := range findings {
		detail := f.Detail
		if detail == "" {
			detail = f.Summary
		}
		p, ok := attributePath(f.Path)
		switch {
		case f.Severity == envbackup.SeverityError && ok:
			diags.AddAttributeError(p, f.Summary, detail)
		case f.Severity == envbackup.SeverityError:
			diags.AddError(f.Summary, detail)
		case ok:
			diags.AddAttributeWarning(p, f.Summary, detail)
		default:
			diags.AddWarning(f.Summary, detail)
		}
	}
}

// addError reports err as an operator reads it: what Terraform was doing, what
// went wrong, what to do next. Findings of the daemon keep their places.
func addError(diags *diag.Diagnostics, doing string, err error) {
	var e *envbackup.Error
	if !errors.As(err, &e) {
		diags.AddError("Cannot "+doing, err.Error())
		return
	}
	if envbackup.HasError(e.Findings) {
		addFindings(diags, e.Findings)
		return
	}
	detail := sentence(e.Error())
	if e.Hint != "" {
		detail += "\n\n" + sentence(e.Hint)
	}
	diags.AddError("Cannot "+doing, detail)
}

// sentence gives text that stands alone its capital letter and full stop.
func sentence(text string) string {
	text = strings.TrimSpace(text)
	if text == "" {
		return text
	}
	if c := text[0]; c >= 'a' && c <= 'z' {
		text = string(c-'a'+'A') + text[1:]
	}
	if last := text[len(text)-1]; !strings.ContainsRune(".!?:`\"", rune(last)) {
		text += "."
	}
	return text
}

// attributePath reads a finding's path as Terraform writes it: "cron",
// "retention.keep_daily", "destinations[1]", `files["app"].path`. It reports
// false for the empty path and for what it cannot read; such a finding is then
// shown without a line rather than lost.
func attributePath(text string) (path.Path, bool) {
	name, rest := cutName(text)
	if name == "" {
		return path.Empty(), false
	}
	p := path.Root(name)
	for rest != "" {
		switch rest[0] {
		case '.':
			name, rest = cutName(rest[1:])
			if name == "" {
				return path.Empty(), false
			}
			p = p.AtName(name)
		case '[':
			key, after, ok := cutKey(rest[1:])
			if !ok {
				return path.Empty(), false
			}
			rest = after
			if index, err := strconv.Atoi(key); err == nil {
				p = p.AtListIndex(index)
			} else if unquoted, err := strconv.Unquote(key); err == nil {
				p = p.AtMapKey(unquoted)
			} else {
				return path.Empty(), false
			}
		default:
			return path.Empty(), false
		}
	}
	return p, true
}

// cutName splits off the attribute name that text begins with.
func cutName(text string) (name, rest string) {
	end := strings.IndexAny(text, ".[")
	if end < 0 {
		return text, ""
	}
	return text[:end], text[end:]
}

// cutKey splits `key]rest`, where key is a number or a quoted string.
func cutKey(text string) (key, rest string, ok bool) {
	if quoted, err := strconv.QuotedPrefix(text); err == nil {
		key, text = quoted, text[len(quoted):]
	} else {
		end := strings.IndexByte(text, ']')
		if end < 0 {
			return "", "", false
		}
		key, text = text[:end], text[end:]
	}
	if text == "" || text[0] != ']' {
		return "", "", false
	}
	return key, text[1:], true
}
