# A policy on schedules, checked by the provider's functions alone: it needs no
# daemon, no provider block and no credentials. Run it with
#
#   terraform init && terraform test

terraform {
  required_version = ">= 1.11"
  required_providers {
    envbackup = { source = "envbackup/envbackup" }
  }
}

variable "cron" {
  type    = string
  default = "30 2 * * *"

  validation {
    condition     = can(provider::envbackup::cron_normalize(var.cron))
    error_message = "\"${var.cron}\" is not a cron expression that the daemon accepts."
  }
}

variable "timezone" {
  type    = string
  default = "Europe/Berlin"

  validation {
    condition     = can(provider::envbackup::worst_case_gap("@daily", var.timezone))
    error_message = "\"${var.timezone}\" is not an IANA time zone."
  }
}

variable "retention" {
  type = object({
    period       = optional(string)
    keep_last    = optional(number)
    keep_daily   = optional(number)
    keep_weekly  = optional(number)
    keep_monthly = optional(number)
    keep_all     = optional(bool)
  })
  default = { period = "30d", keep_monthly = 12 }

  validation {
    condition     = can(provider::envbackup::simulate_retention(var.retention, "@daily", "UTC", local.from, "1y"))
    error_message = "The retention is not one that the daemon accepts."
  }
}

locals {
  # Functions read no clock. A fixed instant gives the same answer in every
  # plan; plantimestamp() would give today's.
  from = "2026-01-01T00:00:00Z"

  in_words    = provider::envbackup::cron_describe(var.cron)
  canonical   = provider::envbackup::cron_normalize(var.cron)
  gap         = provider::envbackup::worst_case_gap(var.cron, var.timezone)
  next_runs   = provider::envbackup::cron_next(var.cron, var.timezone, local.from, 3)
  after_years = provider::envbackup::simulate_retention(var.retention, var.cron, var.timezone, local.from, "2y").horizon
}

check "history_is_long_enough" {
  assert {
    condition     = local.after_years.backups > 0 && timecmp(local.after_years.oldest, "2027-12-01T00:00:00Z") <= 0
    error_message = "After two years the oldest backup would be of ${coalesce(local.after_years.oldest, "no day at all")}; the policy wants a month of history."
  }
}

output "schedule" {
  value = {
    in_words    = local.in_words
    canonical   = local.canonical
    gap         = local.gap
    next_runs   = local.next_runs
    after_years = local.after_years
  }
}
