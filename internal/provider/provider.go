package provider

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/terraform-plugin-framework-validators/stringvalidator"
	"github.com/hashicorp/terraform-plugin-framework/datasource"
	"github.com/hashicorp/terraform-plugin-framework/diag"
	"github.com/hashicorp/terraform-plugin-framework/function"
	"github.com/hashicorp/terraform-plugin-framework/path"
	"github.com/hashicorp/terraform-plugin-framework/provider"
	"github.com/hashicorp/terraform-plugin-framework/provider/schema"
	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/schema/validator"
	"github.com/hashicorp/terraform-plugin-framework/types"

	"github.com/envbackup/terraform-provider-envbackup/internal/client"
	"github.com/envbackup/terraform-provider-envbackup/internal/envbackup"
	"github.com/envbackup/terraform-provider-envbackup/internal/secret"
)

var (
	_ provider.Provider              = (*envbackupProvider)(nil)
	_ provider.ProviderWithFunctions = (*envbackupProvider)(nil)
)

const (
	defaultEndpoint       = "http://127.0.0.1:8420"
	defaultRequestTimeout = 30 * time.Second
	defaultWait           = 10 * time.Second
)

// The values of plan_checks.
const (
	checksAuto    = "auto"
	checksRequire = "require"
	checksSkip    = "skip"
)

type envbackupProvider struct {
	version string
	session atomic.Pointer[session] // what Configure made; nil before
}

// New returns the provider of the given release.
func New(version string) provider.Provider { return newProvider(version) }

func newProvider(version string) *envbackupProvider { return &envbackupProvider{version: version} }

type providerModel struct {
	Endpoint              types.String `tfsdk:"endpoint"`
	Token                 types.String `tfsdk:"token"`
	TokenFile             types.String `tfsdk:"token_file"`
	CAFile                types.String `tfsdk:"ca_file"`
	ClientCertificateFile types.String `tfsdk:"client_certificate_file"`
	ClientKeyFile         types.String `tfsdk:"client_key_file"`
	Owner                 types.String `tfsdk:"owner"`
	PlanChecks            types.String `tfsdk:"plan_checks"`
	RequestTimeout        types.String `tfsdk:"request_timeout"`
	WaitForDaemon         types.String `tfsdk:"wait_for_daemon"`
}

func (p *envbackupProvider) Metadata(_ context.Context, _ provider.MetadataRequest, resp *provider.MetadataResponse) {
	resp.TypeName = "envbackup"
	resp.Version = p.version
}

func (p *envbackupProvider) Schema(_ context.Context, _ provider.SchemaRequest, resp *provider.SchemaResponse) {
	resp.Schema = schema.Schema{
		MarkdownDescription: "Backups as code: declares when an environment is backed up, how long its backups are kept and where they go. " +
			"A daemon (`envbackup daemon`, the same program) takes the backups; this provider speaks to its HTTP API.",
		Attributes: map[string]schema.Attribute{
			"endpoint": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "Where the daemon answers: `http://`, `https://` or `unix:///path/to/socket`. " +
					"Default: the environment variable `ENVBACKUP_ENDPOINT`, then `" + defaultEndpoint + "`.",
				Validators: []validator.String{endpointURL{}},
			},
			"token": schema.StringAttribute{
				Optional: true, Sensitive: true,
				MarkdownDescription: "API token (`envbackup token create`). Default: the environment variable `ENVBACKUP_TOKEN`.",
				Validators:          []validator.String{stringvalidator.ConflictsWith(path.MatchRoot("token_file"))},
			},
			"token_file": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "File that holds the API token. Default: the environment variable `ENVBACKUP_TOKEN_FILE`.",
			},
			"ca_file": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "PEM file of the authority that signed the daemon's certificate. Default: the environment variable `ENVBACKUP_CA_FILE`, then the system's authorities.",
			},
			"client_certificate_file": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "PEM file of the certificate that the provider shows to the daemon. Default: the environment variable `ENVBACKUP_CLIENT_CERTIFICATE_FILE`.",
			},
			"client_key_file": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "PEM file of that certificate's key. Default: the environment variable `ENVBACKUP_CLIENT_KEY_FILE`.",
			},
			"owner": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Name of this configuration. The console shows it beside what the configuration manages, and makes that read-only there. Default: `terraform`.",
			},
			"plan_checks": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "What a plan does when the daemon does not answer: `auto` (default) checks everything that needs no daemon and says once what it could not check; " +
					"`require` makes it an error; `skip` does not ask the daemon for checks at all. What exists already can only be read with a daemon.",
				Validators: []validator.String{stringvalidator.OneOf(checksAuto, checksRequire, checksSkip)},
			},
			"request_timeout": schema.StringAttribute{
				Optional:            true,
				MarkdownDescription: "Longest time for one request, such as `\"30s\"` (the default).",
				Validators:          []validator.String{waitingTime{}},
			},
			"wait_for_daemon": schema.StringAttribute{
				Optional: true,
				MarkdownDescription: "How long an apply waits for a daemon that does not answer yet, so that one apply may start the daemon and then use it. " +
					"Default `\"10s\"`. A plan never waits.",
				Validators: []validator.String{waitingTime{}},
			},
		},
	}
}

func (p *envbackupProvider) Resources(context.Context) []func() resource.Resource {
	return []func() resource.Resource{newEnvironmentResource, newDestinationResource, newScheduleResource}
}

func (p *envbackupProvider) DataSources(context.Context) []func() datasource.DataSource {
	return []func() datasource.DataSource{newBackupsDataSource, newBackupDataSource, newForecastDataSource, newSchedulesDataSource}
}

func (p *envbackupProvider) Functions(context.Context) []func() function.Function {
	return []func() function.Function{
		newCronNextFunction, newCronDescribeFunction, newCronNormalizeFunction,
		newWorstCaseGapFunction, newSimulateRetentionFunction,
	}
}

// Configure makes the session that all resources of this process share, and
// asks the daemon once whether it is there and takes the token.
func (p *envbackupProvider) Configure(ctx context.Context, req provider.ConfigureRequest, resp *provider.ConfigureResponse) {
	var m providerModel
	resp.Diagnostics.Append(req.Config.Get(ctx, &m)...)
	if resp.Diagnostics.HasError() {
		return
	}
	s := &session{checks: stringOr(m.PlanChecks, checksAuto), owner: stringOr(m.Owner, "terraform")}
	resp.ResourceData, resp.DataSourceData = s, s
	p.session.Store(s)

	if m.Endpoint.IsUnknown() || m.Token.IsUnknown() || m.TokenFile.IsUnknown() {
		s.unknownEndpoint = true
		if s.checks != checksSkip {
			resp.Diagnostics.AddAttributeWarning(path.Root("endpoint"), "Daemon endpoint is not known during plan",
				"The endpoint or its token comes from a value that only apply will know, so this plan skips every check that needs the daemon: "+
					"free names, destinations, backups that an edit would remove. Cron and retention are checked.")
		}
		return
	}
	cfg := m.clientConfig(&resp.Diagnostics)
	cfg.UserAgent = userAgent(req.TerraformVersion, p.version)
	if resp.Diagnostics.HasError() {
		return
	}
	s.connect(cfg, durationOr(m.WaitForDaemon, defaultWait), &resp.Diagnostics)
	if resp.Diagnostics.HasError() {
		return
	}
	s.greet(ctx, &resp.Diagnostics)
}

// clientConfig resolves attributes, environment variables and defaults, in
// this order.
func (m providerModel) clientConfig(diags *diag.Diagnostics) client.Config {
	cfg := client.Config{
		Endpoint:   stringOr(m.Endpoint, envOr("ENVBACKUP_ENDPOINT", defaultEndpoint)),
		CAFile:     stringOr(m.CAFile, os.Getenv("ENVBACKUP_CA_FILE")),
		ClientCert: stringOr(m.ClientCertificateFile, os.Getenv("ENVBACKUP_CLIENT_CERTIFICATE_FILE")),
		ClientKey:  stringOr(m.ClientKeyFile, os.Getenv("ENVBACKUP_CLIENT_KEY_FILE")),
		Timeout:    durationOr(m.RequestTimeout, defaultRequestTimeout),
	}
	fromEnv := m.Token.IsNull() && m.TokenFile.IsNull()
	token, file := m.Token.ValueString(), m.TokenFile.ValueString()
	if fromEnv {
		token, file = os.Getenv("ENVBACKUP_TOKEN"), os.Getenv("ENVBACKUP_TOKEN_FILE")
	}
	if token == "" && file != "" {
		content, err := os.ReadFile(file) //nolint:gosec // the practitioner names the file
		if err != nil {
			where := "token_file"
			if fromEnv {
				where = "the environment variable ENVBACKUP_TOKEN_FILE"
			}
			diags.AddAttributeError(path.Root("token_file"), "Cannot read the token file",
				fmt.Sprintf("%s names a file that cannot be read: %s.\n\nCreate a token with: envbackup token create", sentence(where), err))
			return cfg
		}
		token = strings.TrimSpace(string(content))
	}
	cfg.Token = secret.New(token)
	return cfg
}

// greet asks the daemon for its version: the one request by which its absence
// or a refused token is noticed, once for the whole plan.
func (s *session) greet(ctx context.Context, diags *diag.Diagnostics) {
	if s.checks == checksSkip {
		return
	}
	_, err := s.client.Limits(ctx)
	switch envbackup.CodeOf(err) {
	case "":
	case envbackup.CodeUnavailable:
		s.absence = err
		if s.checks == checksRequire {
			s.sayAbsence(diags, diag.SeverityError)
		}
	case envbackup.CodeUnauthenticated:
		diags.AddAttributeError(path.Root("token"), "The daemon refused the token", tokenHint(s.endpoint, err))
	default:
		addError(diags, "ask the daemon at "+s.endpoint, err)
	}
}

func tokenHint(endpoint string, err error) string {
	detail := fmt.Sprintf("%s answered: %s", endpoint, sentence(err.Error()))
	var e *envbackup.Error
	if errors.As(err, &e) && e.Hint != "" {
		detail += "\n\n" + sentence(e.Hint)
	}
	return detail
}

func userAgent(terraform, version string) string {
	agent := fmt.Sprintf("Terraform/%s terraform-provider-envbackup/%s (%s/%s)", terraform, version, runtime.GOOS, runtime.GOARCH)
	if more := strings.TrimSpace(os.Getenv("TF_APPEND_USER_AGENT")); more != "" {
		agent += " " + more
	}
	return agent
}

func envOr(name, otherwise string) string {
	if v := os.Getenv(name); v != "" {
		return v
	}
	return otherwise
}

func stringOr(v types.String, otherwise string) string {
	if s := v.ValueString(); s != "" {
		return s
	}
	return otherwise
}

func durationOr(v types.String, otherwise time.Duration) time.Duration {
	if d, err := time.ParseDuration(v.ValueString()); err == nil {
		return d
	}
	return otherwise
}

// endpointURL accepts what the client can dial.
type endpointURL struct{}

func (endpointURL) Description(context.Context) string {
	return "an http://, https:// or unix:// address"
}
func (v endpointURL) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (endpointURL) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	text := req.ConfigValue.ValueString()
	u, err := url.Parse(text)
	ok := err == nil && ((u.Scheme == "http" || u.Scheme == "https") && u.Host != "" || u.Scheme == "unix" && strings.HasPrefix(u.Path, "/"))
	if !ok {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid endpoint",
			fmt.Sprintf("%q is no address of a daemon. Write for example %q or \"unix:///run/envbackup/api.sock\".", text, defaultEndpoint))
	}
}

// waitingTime accepts Go's notation of short durations.
type waitingTime struct{}

func (waitingTime) Description(context.Context) string               { return "a duration such as 30s" }
func (v waitingTime) MarkdownDescription(ctx context.Context) string { return v.Description(ctx) }

func (waitingTime) ValidateString(_ context.Context, req validator.StringRequest, resp *validator.StringResponse) {
	if req.ConfigValue.IsNull() || req.ConfigValue.IsUnknown() {
		return
	}
	if d, err := time.ParseDuration(req.ConfigValue.ValueString()); err != nil || d < 0 {
		resp.Diagnostics.AddAttributeError(req.Path, "Invalid waiting time",
			fmt.Sprintf("%q is no waiting time. Write for example \"30s\" or \"2m\".", req.ConfigValue.ValueString()))
	}
}
