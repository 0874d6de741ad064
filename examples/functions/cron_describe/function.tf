output "in_words" {
  value = provider::envbackup::cron_describe("*/15 8-17 * * 1-5")
}
