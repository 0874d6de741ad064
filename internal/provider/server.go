package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-go/tfprotov6"
	"github.com/hashicorp/terraform-plugin-go/tftypes"
)

// fullServer names every optional part of the framework's server. Embedding
// tfprotov6.ProviderServer alone would hide them from the type assertions by
// which tf6server finds them: schemas would show and calls fail.
type fullServer interface {
	tfprotov6.ProviderServer
	tfprotov6.ListResourceServer
	tfprotov6.ActionServer
	tfprotov6.StateStoreServer
}

// lineServer rewrites the paths of diagnostics so that every Terraform
// underlines the right line. Before 1.15 a nested attribute (retention.period)
// is shown at the first line of its resource, while the same path written as a
// map key (retention["period"]) is shown exactly; longer paths are exact
// nowhere and are cut to their first two steps. The framework's own validators
// gain by it too.
type lineServer struct{ fullServer }

func (s lineServer) ValidateProviderConfig(ctx context.Context, req *tfprotov6.ValidateProviderConfigRequest) (*tfprotov6.ValidateProviderConfigResponse, error) {
	resp, err := s.fullServer.ValidateProviderConfig(ctx, req)
	if resp != nil {
		exactLines(resp.Diagnostics)
	}
	return resp, err
}

func (s lineServer) ValidateResourceConfig(ctx context.Context, req *tfprotov6.ValidateResourceConfigRequest) (*tfprotov6.ValidateResourceConfigResponse, error) {
	resp, err := s.fullServer.ValidateResourceConfig(ctx, req)
	if resp != nil {
		exactLines(resp.Diagnostics)
	}
	return resp, err
}

func (s lineServer) ValidateDataResourceConfig(ctx context.Context, req *tfprotov6.ValidateDataResourceConfigRequest) (*tfprotov6.ValidateDataResourceConfigResponse, error) {
	resp, err := s.fullServer.ValidateDataResourceConfig(ctx, req)
	if resp != nil {
		exactLines(resp.Diagnostics)
	}
	return resp, err
}

func (s lineServer) ReadResource(ctx context.Context, req *tfprotov6.ReadResourceRequest) (*tfprotov6.ReadResourceResponse, error) {
	resp, err := s.fullServer.ReadResource(ctx, req)
	if resp != nil {
		exactLines(resp.Diagnostics)
	}
	return resp, err
}

func (s lineServer) ReadDataSource(ctx context.Context, req *tfprotov6.ReadDataSourceRequest) (*tfprotov6.ReadDataSourceResponse, error) {
	resp, err := s.fullServer.ReadDataSource(ctx, req)
	if resp != nil {
		exactLines(resp.Diagnostics)
	}
	return resp, err
}

func (s lineServer) PlanResourceChange(ctx context.Context, req *tfprotov6.PlanResourceChangeRequest) (*tfprotov6.PlanResourceChangeResponse, error) {
	resp, err := s.fullServer.PlanResourceChange(ctx, req)
	if resp != nil {
		exactLines(resp.Diagnostics)
	}
	return resp, err
}

func (s lineServer) ApplyResourceChange(ctx context.Context, req *tfprotov6.ApplyResourceChangeRequest) (*tfprotov6.ApplyResourceChangeResponse, error) {
	resp, err := s.fullServer.ApplyResourceChange(ctx, req)
	if resp != nil {
		exactLines(resp.Diagnostics)
	}
	return resp, err
}

// exactLines rewrites the paths in place.
func exactLines(diags []*tfprotov6.Diagnostic) {
	for _, d := range diags {
		if d != nil {
			d.Attribute = exactPath(d.Attribute)
		}
	}
}

// exactPath cuts p to two steps and writes a nested attribute's name as a map
// key. List indexes stay: they are shown at the line of the list everywhere.
func exactPath(p *tftypes.AttributePath) *tftypes.AttributePath {
	steps := p.Steps()
	if len(steps) < 2 {
		return p
	}
	second := steps[1]
	if name, ok := second.(tftypes.AttributeName); ok {
		second = tftypes.ElementKeyString(name)
	}
	return tftypes.NewAttributePathWithSteps([]tftypes.AttributePathStep{steps[0], second})
}
