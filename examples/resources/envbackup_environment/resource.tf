resource "envbackup_environment" "shop" {
  name = "shop-staging"
  files = {
    app = {
      path    = "/srv/shop"
      exclude = ["*.tmp", "cache/**", "!cache/keep.json"]
    }
    config = { path = "/etc/shop" }
  }
}
