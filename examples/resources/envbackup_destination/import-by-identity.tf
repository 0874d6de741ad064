import {
  to       = envbackup_destination.s3
  identity = { id = "dst_019af2b3-7c00-7000-8000-000000000001" }
}
