# `terraform test` plans the configuration above; a check that fails there
# fails the test, and with it the pipeline.
run "there_is_a_fresh_verified_backup" {
  command = plan
}
