# The demo's whole configuration: what is backed up, where to, when, and how
# long it is kept. `make demo` applies it against a real S3 server.

terraform {
  required_version = ">= 1.11"
  required_providers {
    envbackup = { source = "envbackup/envbackup" }
  }
}

provider "envbackup" {} # ENVBACKUP_ENDPOINT and ENVBACKUP_TOKEN_FILE

variable "source_dir" {
  type        = string
  description = "Absolute path of the directory to back up"
}

variable "s3_endpoint" {
  type = string
}

variable "s3_access_key_id" {
  type = string
}

variable "s3_secret_access_key" {
  type      = string
  ephemeral = true # reaches the daemon, never the state
}

variable "recovery_password" {
  type      = string
  ephemeral = true
}

variable "cron" {
  type    = string
  default = "* * * * *"
}

resource "envbackup_environment" "demo" {
  name = "demo"
  files = {
    source = { path = var.source_dir, exclude = ["*.tmp"] }
  }
}

resource "envbackup_destination" "s3" {
  name = "bucket"
  s3 = {
    bucket                       = "envbackup-demo"
    prefix                       = "backups"
    region                       = "us-east-1"
    endpoint                     = var.s3_endpoint
    force_path_style             = true
    access_key_id                = var.s3_access_key_id
    secret_access_key_wo         = var.s3_secret_access_key
    secret_access_key_wo_version = 1
  }
  recovery_password_wo         = var.recovery_password # opens the repository on the day the daemon is gone
  recovery_password_wo_version = 1
}

resource "envbackup_schedule" "minutely" {
  name         = "minutely"
  environment  = envbackup_environment.demo.name
  destinations = [envbackup_destination.s3.name]
  cron         = var.cron
  retention    = { keep_last = 2 }
  lint_ignore  = ["retention-short"] # a demo, not a plan for production
}

data "envbackup_backups" "demo" {
  environment = envbackup_environment.demo.name
  depends_on  = [envbackup_schedule.minutely]
}

output "schedule" {
  value = envbackup_schedule.minutely.summary
}

output "backups" {
  value = [for b in data.envbackup_backups.demo.backups : {
    nominal_at   = b.nominal_at
    status       = b.status
    size         = b.size
    added        = b.added
    kept_because = b.kept_because
  }]
}
