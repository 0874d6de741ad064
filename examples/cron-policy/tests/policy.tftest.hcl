# Each run plans the configuration in the directory above. Nothing is applied
# and nobody is asked.

run "defaults" {
  command = plan

  assert {
    condition     = output.schedule.in_words == "every day at 02:30"
    error_message = "cron_describe says: ${output.schedule.in_words}"
  }
  assert {
    condition     = output.schedule.canonical == "30 2 * * *"
    error_message = "cron_normalize says: ${output.schedule.canonical}"
  }
  assert {
    condition     = output.schedule.gap == "25h" # one night in autumn has an hour more
    error_message = "worst_case_gap says: ${output.schedule.gap}"
  }
  assert {
    condition     = output.schedule.next_runs[0] == "2026-01-01T02:30:00+01:00" && length(output.schedule.next_runs) == 3
    error_message = "cron_next says: ${join(", ", output.schedule.next_runs)}"
  }
  assert {
    condition     = output.schedule.after_years.backups == 42
    error_message = "simulate_retention says: ${jsonencode(output.schedule.after_years)}"
  }
}

run "other_words_for_the_same" {
  command = plan
  variables {
    cron = "@daily"
  }
  assert {
    condition     = output.schedule.canonical == provider::envbackup::cron_normalize("0 0 * * *")
    error_message = "@daily is not 0 0 * * *"
  }
}

run "no_cron_expression" {
  command = plan
  variables {
    cron = "61 * * * *"
  }
  expect_failures = [var.cron]
}

run "no_time_zone" {
  command = plan
  variables {
    timezone = "Europe/Berlni"
  }
  expect_failures = [var.timezone]
}

run "no_retention" {
  command = plan
  variables {
    retention = {}
  }
  expect_failures = [var.retention]
}

run "a_history_that_is_too_short" {
  command = plan
  variables {
    retention = { keep_last = 7 }
  }
  expect_failures = [check.history_is_long_enough]
}
