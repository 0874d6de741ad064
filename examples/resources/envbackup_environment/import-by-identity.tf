import {
  to       = envbackup_environment.shop
  identity = { id = "env_019af2b3-7c00-7000-8000-000000000001" }
}
