import {
  to       = envbackup_environment.shop
  id       = "shop-staging"
  provider = envbackup
}
