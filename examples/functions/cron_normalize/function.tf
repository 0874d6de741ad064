variable "cron" {
  type    = string
  default = "@daily"

  validation {
    condition     = can(provider::envbackup::cron_normalize(var.cron))
    error_message = "It is not a cron expression that the daemon accepts."
  }
}

output "canonical" {
  value = provider::envbackup::cron_normalize(var.cron)
}
