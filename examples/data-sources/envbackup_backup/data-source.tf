data "envbackup_backups" "recent" {
  environment = "shop-staging"
  limit       = 1
}

data "envbackup_backup" "newest" {
  count = data.envbackup_backups.recent.total > 0 ? 1 : 0
  id    = data.envbackup_backups.recent.latest.id
}

output "newest_is_kept_because" {
  value = one(data.envbackup_backup.newest[*].kept_because)
}
