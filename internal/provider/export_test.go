package provider

import (
	"context"

	"github.com/hashicorp/terraform-plugin-framework/resource"
	"github.com/hashicorp/terraform-plugin-framework/resource/schema"
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
