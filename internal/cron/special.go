package cron

import (
	"fmt"
	"strings"
)

// domSpecial reads L and vW.
func (p *parser) domSpecial(text string) ([]item, error) {
	if text == "L" {
		return one(item{kind: last, n: 1, text: "L"}), nil
	}
	if v, ok := strings.CutSuffix(text, "W"); ok && isDigits(v) {
		n, err := p.value(fieldDOM, text, v)
		if err != nil {
			return nil, err
		}
		return one(item{kind: nearest, lo: n, hi: n, n: 1, text: fmt.Sprintf("%dW", n)}), nil
	}
	if strings.HasPrefix(text, "L") {
		return nil, p.fail(fieldDOM, text, "only plain L (last day of the month) is supported", "")
	}
	if strings.HasSuffix(text, "W") {
		return nil, p.fail(fieldDOM, text, "only vW (the weekday nearest to day v) is supported", "write e.g. 15W")
	}
	_, err := p.value(fieldDOM, text, text)
	return nil, err
}

// lastDOW reads vL.
func (p *parser) lastDOW(text string) ([]item, error) {
	v := strings.TrimSuffix(text, "L")
	if v == "" {
		return nil, p.fail(fieldDOW, text, "L needs a day before it", "write e.g. 5L for the last Friday of the month")
	}
	n, err := p.value(fieldDOW, text, v)
	if err != nil {
		return nil, err
	}
	n %= 7
	return one(item{kind: lastDay, lo: n, hi: n, n: 1, text: fmt.Sprintf("%dL", n)}), nil
}

// nth reads v#k.
func (p *parser) nth(text string) ([]item, error) {
	v, week, _ := strings.Cut(text, "#")
	n, err := p.value(fieldDOW, text, v)
	if err != nil {
		return nil, err
	}
	k, ok := number(week)
	if !ok || k < 1 || k > 5 {
		return nil, p.fail(fieldDOW, text, "the week after # must be 1 to 5", "")
	}
	n %= 7
	return one(item{kind: nth, lo: n, hi: k, n: 1, text: fmt.Sprintf("%d#%d", n, k)}), nil
}
