package provider

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"strings"
	"time"

	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/exclude"
	"github.com/envbackup/terraform-provider-envbackup/internal/retention"
)

// thingName accepts a name of SEMANTICS S15.
type thingName struct{}

func (thingName) Description(context.Context) string {
	return "1 to 63 lower-case letters, digits, dots, underscores and hyphens"
}
func (v thingName) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (thingName) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if f := envbackup.CheckName("", req.ConfigValue.ValueString()); f != nil {
		resp.Diagnostics.AddAttributeError(req.Path, f.Summary, f.Detail)
	}
}

// absolutePath accepts a clean absolute path of the worker's host, which runs
// Linux whatever the provider runs on.
type absolutePath struct{}

func (absolutePath) Description(context.Context) string               { return "an absolute path" }
func (v absolutePath) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (absolutePath) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	text := req.ConfigValue.ValueString()
	switch {
	case !path.IsAbs(text):
		resp.Diagnostics.AddAttributeError(req.Path, "Path is not absolute",
			fmt.Sprintf("%q is relative, and the daemon has no directory of yours to start from. Write the whole path, such as \"/srv/shop\".", text))
	case path.Clean(text) != text:
		resp.Diagnostics.AddAttributeError(req.Path, "Path is not in its shortest form",
			fmt.Sprintf("%q can be written shorter, and backups are listed by their paths. Write: %q", text, path.Clean(text)))
	case strings.ContainsRune(text, 0):
		resp.Diagnostics.AddAttributeError(req.Path, "Path holds a NUL character", "No file system has such a path.")
	}
}

// excludePatterns accepts patterns of package exclude, one by one.
type excludePatterns struct{}

func (excludePatterns) Description(context.Context) string { return "exclude patterns" }
func (v excludePatterns) MarkdownDescription(ctx context.Context) string {
	return v.Description(ctx)
}

func (excludePatterns) ValidateList(_ context.Context, req validator.ListRequest, resp *validator.ListResponse) {
	for i, element := range req.ConfigValue.Elements() {
		text, ok := element.(types.String)
		if !ok || text.IsUnknown() {
			continue
		}
		if text.IsNull() {
			resp.Diagnostics.AddAttributeError(req.Path.AtListIndex(i), "Invalid exclude pattern", "A pattern is null. Leave it out.")
			continue
		}
		err := exclude.Validate(text.ValueString())
		var wrong *exclude.PatternError
		if errors.As(err, &wrong) {
			resp.Diagnostics.AddAttributeError(req.Path.AtListIndex(i), "Invalid exclude pattern", sentence(wrong.Error()))
		}
	}
}

// age accepts a duration in the grammar of retention.
type age struct{}

func (age) Description(context.Context) string               { return "a duration such as 26h or 30d" }
func (v age) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (age) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	d, err := retention.ParseDuration(req.ConfigValue.ValueString())
	switch {
	case err != nil:
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid duration", sentence(err.Error()))
	case d.IsZero():
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid duration",
			fmt.Sprintf("%q is no time at all. Write for example \"26h\", or leave it out for any age.", req.ConfigValue.ValueString()))
	}
}

// bucketPrefix accepts a prefix of object names without slashes at its ends.
type bucketPrefix struct{}

func (bucketPrefix) Description(context.Context) string {
	return "a prefix without slashes at its ends"
}
func (v bucketPrefix) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (bucketPrefix) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	text := req.ConfigValue.ValueString()
	if want := strings.Trim(path.Clean("/"+text), "/"); want != text {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid prefix",
			fmt.Sprintf("%q has a slash too many. Write: %q", text, want))
	}
}

// httpURL accepts the address of a server.
type httpURL struct{}

func (httpURL) Description(context.Context) string               { return "an http:// or https:// address" }
func (v httpURL) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (httpURL) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	text := req.ConfigValue.ValueString()
	if u, err := url.Parse(text); err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid endpoint",
			fmt.Sprintf("%q is no address of a server. Write for example \"https://minio.internal:9000\".", text))
	}
}

// instant accepts an RFC 3339 instant.
type instant struct{}

func (instant) Description(context.Context) string               { return "an RFC 3339 instant" }
func (v instant) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (instant) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if _, err := time.Parse(time.RFC3339, req.ConfigValue.ValueString()); err != nil {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid instant",
			fmt.Sprintf("%q is no RFC 3339 instant. Write for example \"2026-03-28T00:00:00Z\".", req.ConfigValue.ValueString()))
	}
}

// notEmpty refuses the empty text where leaving the attribute out is the way
// to the default.
type notEmpty struct{}

func (notEmpty) Description(context.Context) string               { return "not the empty text" }
func (v notEmpty) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (notEmpty) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if present(req.ConfigValue) && req.ConfigValue.ValueString() == "" {
		resp.Diagnostics.AddAttributeError(req.Path, "Empty value", "The value is the empty text. Leave the attribute out (or set it to null) for its default.")
	}
}
