import {
  to       = envbackup_schedule.nightly
  id       = "shop-staging/nightly"
  provider = envbackup
}
