data "envbackup_schedules" "all" {}

output "late" {
  value = [for s in data.envbackup_schedules.all.schedules : "${s.environment}/${s.name}" if s.health == "late"]
}
