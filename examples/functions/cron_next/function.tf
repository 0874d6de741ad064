# Around a change of the clock: 02:30 does not exist on 29 March, so that run
# is at 03:00.
output "next_runs" {
  value = provider::envbackup::cron_next("30 2 * * *", "Europe/Berlin", "2026-03-28T00:00:00Z", 3)
}
