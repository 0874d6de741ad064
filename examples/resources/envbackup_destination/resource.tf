variable "s3_secret_access_key" {
  type      = string
  ephemeral = true # reaches the daemon, never plan or state
}

variable "recovery_password" {
  type      = string
  ephemeral = true
}

resource "envbackup_destination" "s3" {
  name = "primary"
  s3 = {
    bucket                       = "acme-backups"
    region                       = "eu-central-1"
    prefix                       = "envbackup"
    access_key_id                = "AKIAIOSFODNN7EXAMPLE"
    secret_access_key_wo         = var.s3_secret_access_key
    secret_access_key_wo_version = 1 # raise it when the secret changes
  }
  recovery_password_wo         = var.recovery_password # opens the repositories on the day the daemon is gone
  recovery_password_wo_version = 1
}

resource "envbackup_destination" "disk" {
  name  = "nas"
  local = { path = "/mnt/nas/backups" }
}
