# By ENVIRONMENT/NAME, or by the id that the daemon made.
terraform import envbackup_schedule.nightly shop-staging/nightly
