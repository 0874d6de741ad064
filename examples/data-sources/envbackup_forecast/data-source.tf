data "envbackup_forecast" "nightly" {
  cron      = "30 2 * * *"
  timezone  = "Europe/Berlin"
  retention = { period = "30d", keep_monthly = 12 }
  max_rpo   = "26h"
  from      = "2026-10-23T12:00:00Z" # leave it out for now
  limit     = 3
}

output "in_words" {
  value = data.envbackup_forecast.nightly.summary
}

output "next_runs" { # around a change of the clock
  value = data.envbackup_forecast.nightly.next_runs[*].at
}

output "restore_points_after_a_year" {
  value = data.envbackup_forecast.nightly.restore_points.year
}

check "nightly_is_a_good_plan" {
  assert {
    condition     = data.envbackup_forecast.nightly.valid && length(data.envbackup_forecast.nightly.findings) == 0
    error_message = join("\n", [for f in data.envbackup_forecast.nightly.findings : "${f.path}: ${f.summary}. ${f.detail}"])
  }
}
