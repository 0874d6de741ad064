package provider

import (
	"context"
	"os"
	"runtime/debug"

	"github.com/hashicorp/terraform-plugin-framework/providerserver"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6/tf6server"
)

// Address is the provider's name in the registry.
const Address = "registry.terraform.io/envbackup/envbackup"

// MagicCookie is the value of the environment variable TF_PLUGIN_MAGIC_COOKIE
// by which Terraform marks the processes that it starts as plugins.
const MagicCookie = "d602bf8f470bc67ca7faa0386276bbdd4330efaf76d1a219cb4d6991ca9872b2"

// Serve runs the plugin until Terraform ends it. It changes the whole
// process's garbage collection and logging (see tune), so only main calls it.
// With debuggable it waits for a Terraform that is started by hand and prints
// the TF_REATTACH_PROVIDERS line for it.
func Serve(_ context.Context, version string, debuggable bool) error {
	tune()
	var opts []tf6server.ServeOpt
	if debuggable {
		opts = append(opts, tf6server.WithManagedDebug())
	}
	return tf6server.Serve(Address, func() tfprotov6.ProviderServer { return NewServer(version) }, opts...)
}

// NewServer returns the provider as a protocol server, for Serve, for tests
// and for the generator of the documentation's schema.
func NewServer(version string) tfprotov6.ProviderServer {
	p := newProvider(version)
	inner := providerserver.NewProtocol6(p)()
	f, ok := inner.(fullServer)
	if !ok {
		// A framework that lost one of the optional interfaces still serves;
		// only the underlined lines are less exact, and plans slower.
		return inner
	}
	quick, err := newQuickSchedules(&p.session)
	if err != nil {
		return lineServer{f} // a test holds that this does not happen
	}
	return quickServer{lineServer{f}, quick}
}

// tune makes plans cheap. The SDK writes a log line for each attribute that it
// touches, and Terraform parses and drops them: with 1,000 schedules that is
// two fifths of the CPU time. The process lives for seconds, so it may also
// trade memory for fewer garbage collections.
func tune() {
	debug.SetGCPercent(400)
	for _, name := range []string{"TF_LOG", "TF_LOG_PROVIDER", "TF_LOG_PROVIDER_ENVBACKUP", "TF_LOG_SDK", "TF_LOG_SDK_FRAMEWORK", "TF_LOG_SDK_PROTO"} {
		if os.Getenv(name) != "" {
			return // somebody wants the logs
		}
	}
	for _, name := range []string{"TF_LOG_SDK", "TF_LOG_SDK_FRAMEWORK", "TF_LOG_SDK_PROTO"} {
		_ = os.Setenv(name, "off") // fails only for malformed names
	}
}
