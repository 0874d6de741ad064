package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
)

// SpelledAttributes returns the attributes of a schedule that can be written in
// several ways, such as "cron" and "retention.period", for the test that
// respells each of them with a real Terraform.
func SpelledAttributes() map[string]bool {
	var resp resource.SchemaResponse
	(&scheduleResource{}).Schema(context.Background(), resource.SchemaRequest{}, &resp)
	found := map[string]bool{}
	collectSpelled("", resp.Schema.Attributes, found)
	return found
}

func collectSpelled(prefix string, attributes map[string]schema.Attribute, found map[string]bool) {
	for name, a := range attributes {
		switch a := a.(type) {
		case schema.StringAttribute:
			if _, ok := a.CustomType.(spelledType); ok {
				found[prefix+name] = true
			}
		case schema.SingleNestedAttribute:
			collectSpelled(prefix+name+".", a.Attributes, found)
		case schema.MapNestedAttribute:
			collectSpelled(prefix+name+".", a.NestedObject.Attributes, found)
		}
	}
}

// Quick gives tests the two ways in which a server answers for schedules. Its
// methods return nil for what the framework must answer.
type Quick struct{ q *quickSchedules }

// SplitQuick returns both ways of one server. They share its session.
func SplitQuick(s tfprotov6.ProviderServer) (quick Quick, framework tfprotov6.ProviderServer, ok bool) {
	server, ok := s.(quickServer)
	return Quick{server.schedules}, server.fullServer, ok
}

func (q Quick) Upgrade(req *tfprotov6.UpgradeResourceStateRequest) *tfprotov6.UpgradeResourceStateResponse {
	return q.q.upgrade(req)
}

func (q Quick) Validate(ctx context.Context, req *tfprotov6.ValidateResourceConfigRequest) *tfprotov6.ValidateResourceConfigResponse {
	return q.q.validate(ctx, req)
}

func (q Quick) Read(ctx context.Context, req *tfprotov6.ReadResourceRequest) *tfprotov6.ReadResourceResponse {
	return q.q.read(ctx, req)
}

func (q Quick) Plan(ctx context.Context, req *tfprotov6.PlanResourceChangeRequest) *tfprotov6.PlanResourceChangeResponse {
	return q.q.plan(ctx, req)
}
