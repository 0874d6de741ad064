package provider_test

import (
	"context"

	"github.com/hashicorp/terraform-plugin-testing/plancheck"
)

// planHook is a plan check that does something between plan and apply.
type planHook func()

func (h planHook) CheckPlan(context.Context, plancheck.CheckPlanRequest, *plancheck.CheckPlanResponse) {
	h()
}
