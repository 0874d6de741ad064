data "envbackup_backups" "recent" {
  environment = "shop-staging"
  status      = "complete"
  max_age     = "26h"
  limit       = 1
}

# Warns in each plan and apply when there is no fresh backup. The guide "What a
# plan checks" shows how a pipeline fails on it.
check "fresh_backup" {
  assert {
    condition     = data.envbackup_backups.recent.total > 0
    error_message = "shop-staging has no complete backup of the last 26 hours."
  }
}
