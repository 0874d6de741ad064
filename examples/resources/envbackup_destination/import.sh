# By name, or by the id that the daemon made.
terraform import envbackup_destination.s3 primary
