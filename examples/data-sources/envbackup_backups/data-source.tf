data "envbackup_backups" "recent" {
  environment = "shop-staging"
  status      = "complete"
  max_age     = "26h"
  limit       = 1
}

# Warns in each plan and apply, and is recorded in the state, when there is no
# fresh backup.
check "fresh_backup" {
  assert {
    condition     = data.envbackup_backups.recent.total > 0
    error_message = "shop-staging has no complete backup of the last 26 hours."
  }
}
