# Fails a pipeline when an environment has no fresh verified backup.
#
# A `check` block that fails is a warning of plan and apply: they go on, and
# exit with 0. That is right for the configuration that repairs it, and wrong
# for a gate. Each of these three fails instead (see the guide "What a plan
# checks"):
#
#   terraform test                                   # a failed check fails a test
#   terraform plan -var strict=true                  # a postcondition is an error
#   terraform plan -out=gate.tfplan &&
#     terraform show -json gate.tfplan | jq -e '.checks | all(.status == "pass")'

# Backups are verified by the schedule's `verify`, or by hand with
# `envbackup backups verify`.

terraform {
  required_version = ">= 1.11"
  required_providers {
    envbackup = { source = "envbackup/envbackup" }
  }
}

provider "envbackup" {} # ENVBACKUP_ENDPOINT and ENVBACKUP_TOKEN_FILE

variable "environment" {
  type    = string
  default = "shop-staging"
}

variable "max_age" {
  type        = string
  default     = "26h"
  description = "How old the newest verified backup may be"
}

variable "strict" {
  type        = bool
  default     = false
  description = "Whether its absence is an error of plan and apply, not a warning"
}

data "envbackup_backups" "fresh" {
  environment = var.environment
  status      = "complete"
  verified    = true
  max_age     = var.max_age
  limit       = 1

  lifecycle {
    postcondition {
      condition     = !var.strict || self.total > 0
      error_message = "${var.environment} has no verified backup of the last ${var.max_age}."
    }
  }
}

check "fresh_verified_backup" {
  assert {
    condition     = data.envbackup_backups.fresh.total > 0
    error_message = "${var.environment} has no verified backup of the last ${var.max_age}. See what there is with: envbackup backups list --environment ${var.environment}"
  }
}

output "latest" {
  value = try("${data.envbackup_backups.fresh.latest.id}, verified ${data.envbackup_backups.fresh.latest.verified_at}", "none")
}
