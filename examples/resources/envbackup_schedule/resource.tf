resource "envbackup_environment" "shop" {
  name  = "shop-staging"
  files = { app = { path = "/srv/shop" } }
}

resource "envbackup_destination" "nas" {
  name  = "nas"
  local = { path = "/mnt/nas/backups" }
}

resource "envbackup_schedule" "nightly" {
  name         = "nightly"
  environment  = envbackup_environment.shop.name
  destinations = [envbackup_destination.nas.name]
  cron         = "30 2 * * *"
  timezone     = "Europe/Berlin"
  retention    = { period = "30d", keep_monthly = 12 }
  max_rpo      = "26h" # the plan fails when two runs can lie further apart
  verify       = { every = "7d" }
}

output "nightly" {
  value = envbackup_schedule.nightly.summary # known at plan
}
