output "after_a_year" {
  value = provider::envbackup::simulate_retention(
    { period = "30d", keep_monthly = 12 },
    "30 2 * * *", "Europe/Berlin",
    "2026-01-01T00:00:00Z", "2y",
  ).year
}
