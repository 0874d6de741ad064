terraform {
  required_providers {
    envbackup = { source = "envbackup/envbackup" }
  }
}

# Everything can come from the environment instead: ENVBACKUP_ENDPOINT,
# ENVBACKUP_TOKEN or ENVBACKUP_TOKEN_FILE, ENVBACKUP_CA_FILE.
provider "envbackup" {
  endpoint = "http://127.0.0.1:8420"
  owner    = "shop-infra" # shown in the console beside what is managed here
}
