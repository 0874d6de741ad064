package cron

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// field is what is allowed in one of the five fields.
type field struct {
	name   string
	lo, hi int // as written; 7 is allowed as day of week and means Sunday
	top    int // where "*" and an open step end
	names  []string
}

const (
	fieldMinute = iota + 1
	fieldHour
	fieldDOM
	fieldMonth
	fieldDOW
)

var fields = [5]field{
	{name: "minute", lo: 0, hi: 59, top: 59},
	{name: "hour", lo: 0, hi: 23, top: 23},
	{name: "day-of-month", lo: 1, hi: 31, top: 31},
	{name: "month", lo: 1, hi: 12, top: 12, names: []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}},
	{name: "day-of-week", lo: 0, hi: 7, top: 6, names: []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}},
}

var macros = map[string]string{
	"@hourly":   "0 * * * *",
	"@daily":    "0 0 * * *",
	"@midnight": "0 0 * * *",
	"@weekly":   "0 0 * * 0",
	"@monthly":  "0 0 1 * *",
	"@yearly":   "0 0 1 1 *",
	"@annually": "0 0 1 1 *",
}

const (
	fieldList = "minute hour day-of-month month day-of-week"
	macroList = "@hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually"
)

// Parse reads an expression: a macro or five fields, in any case, at most
// MaxLen bytes. The error is a *ParseError; errors.Is(err, ErrNever) tells an
// expression that never fires. The result never depends on the clock.
func Parse(expr string) (*Schedule, error) {
	p := &parser{expr: expr}
	s := &Schedule{expr: expr}
	texts, err := p.split()
	if err != nil {
		return nil, err
	}
	var parsed [5][]item
	for i := range texts {
		if parsed[i], err = p.field(i+1, texts[i]); err != nil {
			return nil, err
		}
	}
	if err := p.dayFields(texts, parsed); err != nil {
		return nil, err
	}
	canonical := make([]string, 5)
	for i, items := range parsed {
		for _, it := range items {
			s.add(i+1, it)
			if it.n > 1 && !strings.Contains(texts[i], ",") {
				s.steps = append(s.steps, step{field: i + 1, text: it.stepText, lo: it.lo, hi: it.hi, n: it.n})
			}
		}
		canonical[i] = join(items)
	}
	s.canonical = strings.Join(canonical, " ")
	if err := p.never(s, texts); err != nil {
		return nil, err
	}
	return s, nil
}

type parser struct{ expr string }

func (p *parser) fail(field int, value, msg, hint string) *ParseError {
	return &ParseError{Expr: p.expr, Field: field, Value: p.written(field, value), Msg: msg, Hint: hint}
}

// written returns a part of a field as it was given; the parser itself works on
// capital letters.
func (p *parser) written(field int, part string) string {
	given := strings.FieldsFunc(p.expr, func(r rune) bool { return r == ' ' || r == '\t' })
	if field < 1 || field > len(given) {
		return part
	}
	at := strings.Index(strings.ToUpper(given[field-1]), part)
	if at < 0 {
		return part
	}
	return given[field-1][at : at+len(part)]
}

// split returns the five fields, upper-case, after the checks that concern the
// expression as a whole.
func (p *parser) split() ([]string, error) {
	if len(p.expr) > MaxLen {
		return nil, p.fail(0, "", fmt.Sprintf("is %d bytes long, at most %d are allowed", len(p.expr), MaxLen), "")
	}
	for i := range len(p.expr) {
		switch c := p.expr[i]; {
		case c < ' ' && c != '\t' || c == 0x7f:
			return nil, p.fail(0, "", fmt.Sprintf("contains control character 0x%02x at byte %d", c, i+1), "write the expression on one line")
		case c > 0x7f:
			return nil, p.fail(0, "", fmt.Sprintf("contains a non-ASCII character at byte %d", i+1), "use plain digits, letters and blanks")
		}
	}
	text := strings.Trim(p.expr, " \t")
	if text == "" {
		return nil, p.fail(0, "", "is empty", "write five fields ("+fieldList+"), e.g. 30 2 * * *")
	}
	upper := strings.ToUpper(text)
	if strings.HasPrefix(upper, "CRON_TZ=") || strings.HasPrefix(upper, "TZ=") {
		return nil, p.fail(0, "", "a time zone prefix is not supported", "set the schedule's time zone instead")
	}
	if text[0] == '@' {
		full, ok := macros[strings.ToLower(text)]
		if !ok {
			return nil, p.macro(text)
		}
		upper = full
	}
	texts := strings.FieldsFunc(upper, func(r rune) bool { return r == ' ' || r == '\t' })
	if n := len(texts); n != 5 {
		noun := "fields"
		if n == 1 {
			noun = "field"
		}
		hint := ""
		if n > 5 {
			hint = "seconds, years, users and comments are not supported"
			if rest := strings.Join(texts[1:], " "); n == 6 && isDigits(texts[0]) && valid(rest) {
				hint += "; without the first field it is " + rest
			}
		}
		return nil, p.fail(0, "", fmt.Sprintf("has %d %s, expected 5 (%s)", n, noun, fieldList), hint)
	}
	return texts, nil
}

func (p *parser) macro(text string) error {
	lower := strings.ToLower(text)
	hint := "use one of " + macroList
	switch {
	case strings.HasPrefix(lower, "@every") || strings.HasSuffix(lower, "minutes") || lower == "@everysecond" || lower == "@always":
		hint = "intervals are not cron; write " + everyAsCron(lower)
	case lower == "@reboot":
		hint = "there is no boot event to run on"
	}
	return p.fail(0, "", "unknown macro "+quote(text), hint)
}

// kind tells the forms of an item apart.
type kind int

const (
	star    kind = iota // * or ?
	plain               // v, v-v, v-v/n, v/n and */n
	last                // L as day of month
	nearest             // vW
	lastDay             // vL as day of week
	nth                 // v#k
)

// item is one element of a field's list. lo, hi and n hold what it selects
// (n is 1 without a step); text is its canonical spelling.
type item struct {
	kind      kind
	lo, hi, n int
	text      string
	stepText  string // as written, when it has a step
	starred   bool   // */n
}

// field reads the list of one field.
func (p *parser) field(i int, text string) ([]item, error) {
	parts := strings.Split(text, ",")
	var items []item
	for _, part := range parts {
		if part == "" {
			return nil, p.fail(i, text, "has an empty list item", "")
		}
		if len(parts) > 1 && (part[0] == '*' || part[0] == '?') {
			hint := ""
			if part[0] == '*' && part != "*" {
				hint = "write the values out"
			}
			return nil, p.fail(i, text, p.written(i, part)+" cannot be part of a list", hint)
		}
		more, err := p.item(i, part)
		if err != nil {
			return nil, err
		}
		items = append(items, more...)
	}
	slices.SortStableFunc(items, func(a, b item) int {
		return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.lo, b.lo), cmp.Compare(a.hi, b.hi), cmp.Compare(a.n, b.n), cmp.Compare(a.text, b.text))
	})
	return slices.CompactFunc(items, func(a, b item) bool { return a.text == b.text }), nil
}

// item reads one element. It returns two when a range ends on Sunday as 7.
func (p *parser) item(i int, text string) ([]item, error) {
	f := fields[i-1]
	switch {
	case text == "*":
		return one(item{kind: star, text: "*"}), nil
	case text == "?":
		if i != fieldDOM && i != fieldDOW {
			return nil, p.fail(i, text, "? is only allowed in the two day fields", "write *")
		}
		return one(item{kind: star, text: "*"}), nil
	case i == fieldDOM && strings.ContainsAny(text, "LW"):
		return p.domSpecial(text)
	case i == fieldDOW && strings.Contains(text, "#"):
		return p.nth(text)
	case i == fieldDOW && strings.HasSuffix(text, "L") && !strings.ContainsAny(text, "-/"):
		return p.lastDOW(text)
	}

	base, stepText, stepped := strings.Cut(text, "/")
	it := item{kind: plain, lo: f.lo, hi: f.top, n: 1}
	open := false
	switch from, to, ranged := strings.Cut(base, "-"); {
	case base == "*":
		it.starred = true
	case ranged:
		var err error
		if it.lo, err = p.value(i, text, from); err != nil {
			return nil, err
		}
		if it.hi, err = p.value(i, text, to); err != nil {
			return nil, err
		}
		// MON-SUN means MON-7, while SUN-TUE begins at 0.
		if i == fieldDOW && to == "SUN" && it.lo > 0 {
			it.hi = 7
		}
		if it.lo > it.hi {
			return nil, p.fail(i, text, "the range runs backwards", "write "+f.wrapped(from, to))
		}
	default:
		v, err := p.value(i, text, base)
		if err != nil {
			return nil, err
		}
		if it.lo, it.hi, open = v, v, stepped; open {
			it.hi = f.top
		}
	}
	if stepped {
		if open && i == fieldDOW {
			return nil, p.fail(i, text, "a step needs a range here", fmt.Sprintf("write e.g. %s-6/%s", base, stepText))
		}
		n, err := p.step(i, text, stepText, it)
		if err != nil {
			return nil, err
		}
		it.n, it.stepText = n, text
	}
	return it.canonical(i, open), nil
}

// step reads the number after the slash.
func (p *parser) step(i int, text, stepText string, it item) (int, error) {
	n, ok := number(stepText)
	if !ok {
		return 0, p.fail(i, text, fmt.Sprintf("the step %s is not a number", quote(p.written(i, stepText))), "write a whole number after /")
	}
	if n < 1 {
		return 0, p.fail(i, text, "the step must be at least 1", "")
	}
	if n > it.hi-it.lo && n != 1 {
		return 0, p.fail(i, text, fmt.Sprintf("step %d is larger than the range %d-%d and would select only %d", n, it.lo, it.hi, it.lo), fmt.Sprintf("write %d", it.lo))
	}
	return n, nil
}

func one(it item) []item { return []item{it} }

// canonical spells a plain item in digits. As day of week, a 7 becomes a 0 of
// its own and the rest of the range ends at the last value below it.
func (it item) canonical(i int, open bool) []item {
	if it.starred && it.n == 1 {
		return one(item{kind: star, text: "*"})
	}
	var items []item
	if i == fieldDOW && it.hi == 7 {
		if (7-it.lo)%it.n == 0 {
			items = append(items, item{kind: plain, n: 1, text: "0"})
		}
		if it.lo == 7 {
			return items
		}
		it.hi = it.lo + (6-it.lo)/it.n*it.n
	}
	switch {
	case it.starred:
		it.text = "*"
	case open || it.lo == it.hi:
		it.text = strconv.Itoa(it.lo)
	default:
		it.text = fmt.Sprintf("%d-%d", it.lo, it.hi)
	}
	if it.n > 1 && it.lo != it.hi {
		it.text += fmt.Sprintf("/%d", it.n)
	} else if open && it.lo != it.hi {
		// v/1 would be refused by nobody, but v-max says it plainly.
		it.text = fmt.Sprintf("%d-%d", it.lo, it.hi)
	}
	return append(items, it)
}

// value reads a number or a name of field i.
func (p *parser) value(i int, text, v string) (int, error) {
	f := fields[i-1]
	if n, ok := number(v); ok {
		if n < f.lo || n > f.hi {
			return 0, p.fail(i, text, fmt.Sprintf("%d is out of range %d-%d", n, f.lo, f.hi), "")
		}
		return n, nil
	}
	if k := slices.Index(f.names, v); k >= 0 {
		return k + f.lo, nil
	}
	return 0, p.notAValue(i, text, v)
}

// notAValue says what v looks like, since most wrong values are a right value
// in the wrong place.
func (p *parser) notAValue(i int, text, v string) error {
	f := fields[i-1]
	for j, other := range fields {
		for k, name := range other.names {
			switch {
			case v == name:
				return p.fail(i, text, fmt.Sprintf("%s is a %s name", p.written(i, v), other.name), "")
			case strings.HasPrefix(fullNames[j][k], v) && len(v) > 3:
				if j+1 == i {
					return p.fail(i, text, fmt.Sprintf("%s is not a name", quote(p.written(i, v))), "use the three-letter form "+name)
				}
				return p.fail(i, text, fmt.Sprintf("%s is a %s name", p.written(i, v), other.name), "")
			}
		}
	}
	if v == "" {
		return p.fail(i, text, "a number is missing", "")
	}
	if isDigits(v) {
		return p.fail(i, text, fmt.Sprintf("%s is out of range %d-%d", v, f.lo, f.hi), "")
	}
	hint := fmt.Sprintf("write a number from %d to %d", f.lo, f.hi)
	if f.names != nil {
		hint += " or a name such as " + f.names[0]
	}
	return p.fail(i, text, fmt.Sprintf("%s is not a number", quote(p.written(i, v))), hint)
}

// fullNames are recognised only to be answered with their short form.
var fullNames = [5][]string{
	3: {"JANUARY", "FEBRUARY", "MARCH", "APRIL", "MAY", "JUNE", "JULY", "AUGUST", "SEPTEMBER", "OCTOBER", "NOVEMBER", "DECEMBER"},
	4: {"SUNDAY", "MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY"},
}

// dayFields refuses */n in one day field beside a restricted other one: some
// programs join the two with "and", some with "or".
func (p *parser) dayFields(texts []string, parsed [5][]item) error {
	dom, dow := parsed[fieldDOM-1], parsed[fieldDOW-1]
	stepped := func(items []item) bool { return items[0].starred && items[0].kind == plain }
	restricted := func(items []item) bool { return items[0].kind != star }
	const why = " (cron implementations disagree whether both or either must match)"
	switch {
	case stepped(dom) && restricted(dow):
		return p.fail(fieldDOM, texts[fieldDOM-1], "a */n step cannot be combined with a restricted day-of-week field"+why,
			"write the days out, e.g. 1-31/"+strconv.Itoa(dom[0].n))
	case stepped(dow) && restricted(dom):
		return p.fail(fieldDOW, texts[fieldDOW-1], "a */n step cannot be combined with a restricted day-of-month field"+why,
			"write the days out, e.g. 0-6/"+strconv.Itoa(dow[0].n))
	}
	return nil
}

// add puts what it selects into the sets of field i.
func (s *Schedule) add(i int, it item) {
	f := fields[i-1]
	if it.kind == star {
		it.lo, it.hi, it.n = f.lo, f.top, 1
	}
	switch it.kind {
	case last:
		s.dom.last = true
		return
	case nearest:
		s.dom.nearest |= 1 << it.lo
		return
	case lastDay:
		s.dow.last |= 1 << it.lo
		return
	case nth:
		s.dow.nth[it.hi] |= 1 << it.lo
		return
	}
	var set uint64
	for v := it.lo; v <= it.hi; v += it.n {
		set |= 1 << v
	}
	switch i {
	case fieldMinute:
		s.minute |= set
	case fieldHour:
		s.hour |= uint32(set)
	case fieldDOM:
		s.dom.star = it.kind == star
		s.dom.days |= uint32(set)
	case fieldMonth:
		s.month |= uint16(set)
	case fieldDOW:
		s.dow.star = it.kind == star
		s.dow.days |= uint8(set)
	}
}

// never refuses a schedule that no year can satisfy.
func (p *parser) never(s *Schedule, texts []string) error {
	if s.fires() {
		return nil
	}
	err := p.fail(fieldDOM, texts[fieldDOM-1], "this schedule never runs: none of the selected months has such a day", "for the last day of the month write L")
	err.never = true
	return err
}

// wrapped splits a backward range at the end of the field.
func (f field) wrapped(from, to string) string {
	first, final := strconv.Itoa(f.lo), strconv.Itoa(f.top)
	if f.names != nil && !isDigits(from) {
		first, final = f.names[0], f.names[len(f.names)-1]
	}
	left, right := from+"-"+final, first+"-"+to
	if from == final {
		left = from
	}
	if to == first {
		right = to
	}
	return left + "," + right
}

func join(items []item) string {
	texts := make([]string, len(items))
	for i, it := range items {
		texts[i] = it.text
	}
	return strings.Join(texts, ",")
}

// number reads one to three digits.
func number(s string) (int, bool) {
	if len(s) > 3 || !isDigits(s) {
		return 0, false
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

func isDigits(s string) bool {
	if s == "" {
		return false
	}
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return true
}
