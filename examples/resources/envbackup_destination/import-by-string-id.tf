import {
  to       = envbackup_destination.s3
  id       = "primary"
  provider = envbackup
}
