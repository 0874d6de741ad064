# 25h: one night in autumn has an hour more.
output "gap" {
  value = provider::envbackup::worst_case_gap("30 2 * * *", "Europe/Berlin")
}
