import {
  to       = envbackup_schedule.nightly
  identity = { id = "sch_019af2b3-7c00-7000-8000-000000000001" }
}
