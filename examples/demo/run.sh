#!/usr/bin/env bash
# The main job, for real: a directory is backed up on a schedule to a real S3
# server, pruned, listed through Terraform and restored byte for byte.
#
# `make demo` builds everything and calls this. Needs: terraform or tofu.
# KEEP=1 leaves the servers running at the end and prints their addresses.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
envbackup=${ENVBACKUP_BIN:-$root/bin/envbackup}
versitygw=${VERSITYGW_BIN:-$root/bin/tools/versitygw}
restic=${RESTIC_BIN:-$root/bin/tools/restic}
terraform=$(command -v terraform || command -v tofu || true)
[ -n "$terraform" ] || { echo "demo: install terraform (1.11 or newer) or tofu first" >&2; exit 1; }

# Nothing of the caller's set-up may lead the demo elsewhere.
unset "${!ENVBACKUP_@}" "${!TF_@}" "${!AWS_@}" "${!RESTIC_@}"
export CHECKPOINT_DISABLE=1 TF_IN_AUTOMATION=1 TF_CLI_CONFIG_FILE=/dev/null

work=$(mktemp -d "${TMPDIR:-/tmp}/envbackup-demo.XXXXXX")
pids=()
began=$SECONDS

say() { printf '\n\033[1m%3ds  %s\033[0m\n' $((SECONDS - began)) "$*"; }
fail() {
	echo "demo: $*" >&2
	for log in "$work"/*.log; do
		[ -s "$log" ] && { echo "--- the end of ${log##*/}" >&2; tail -n 20 "$log" >&2; }
	done
	exit 1
}

stop() {
	local status=$?
	trap - EXIT
	if [ "${KEEP:-}" = 1 ] && [ $status -eq 0 ]; then
		cat <<-END

			Everything is left running (KEEP=1):
			  daemon      $ENVBACKUP_ENDPOINT   token in $ENVBACKUP_TOKEN_FILE
			  S3 server   $s3   access key demo, secret in $work/s3.secret
			  Terraform   cd $work/terraform
			  stop with   kill ${pids[*]}; rm -rf $work
		END
		exit 0
	fi
	for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
	for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
	rm -rf "$work"
	exit $status
}
trap stop EXIT
trap 'exit 130' INT TERM

# answers HOST PORT PATH: does an HTTP server answer 200 there?
answers() {
	local line
	exec 9<>"/dev/tcp/$1/$2" || return 1
	printf 'GET %s HTTP/1.0\r\nHost: %s\r\n\r\n' "$3" "$1" >&9
	IFS= read -r -t 5 line <&9 || line=
	exec 9>&-
	[[ $line == *" 200"* ]]
} 2>/dev/null

say "Copying the Go installation's own tree: that is the directory to protect"
mkdir -p "$work/source"
cp -a "$(go env GOROOT)/." "$work/source/"
echo "$(find "$work/source" -type f | wc -l) files, $(du -sh "$work/source" | cut -f1)"

say "Starting a real S3 server (versitygw) and the daemon on free loopback ports"
mkdir -p "$work/s3/envbackup-demo" "$work/iam" "$work/versions"
head -c 24 /dev/urandom | base64 | tr -d '/+=\n' >"$work/s3.secret"
for _ in $(seq 20); do
	port=$((20000 + RANDOM % 12000))
	ROOT_ACCESS_KEY=demo ROOT_SECRET_KEY=$(cat "$work/s3.secret") "$versitygw" --port "127.0.0.1:$port" \
		--quiet --keep-alive --health /healthz --iam-dir "$work/iam" \
		posix --versioning-dir "$work/versions" "$work/s3" >"$work/s3.log" 2>&1 &
	pid=$!
	while kill -0 $pid 2>/dev/null && ! answers 127.0.0.1 $port /healthz; do sleep 0.1; done
	if kill -0 $pid 2>/dev/null; then break; fi
	pid=
done
[ -n "$pid" ] || fail "the S3 server does not start"
pids+=("$pid")
s3=http://127.0.0.1:$port

"$envbackup" daemon --dev --data-dir "$work/daemon" --listen 127.0.0.1:0 >"$work/ready" 2>"$work/daemon.log" &
pids+=("$!")
while ! grep -q ^ready "$work/ready"; do
	kill -0 "${pids[-1]}" 2>/dev/null || fail "the daemon does not start"
	sleep 0.1
done
ENVBACKUP_ENDPOINT=$(sed -n 's/^ready //p' "$work/ready")
export ENVBACKUP_ENDPOINT ENVBACKUP_TOKEN_FILE=$work/daemon/admin.token
echo "S3 $s3, daemon $ENVBACKUP_ENDPOINT"

cp -r "$here/." "$work/terraform"
cd "$work/terraform"
"$envbackup" terraform install --dir terraform.d/plugins >/dev/null
TF_VAR_recovery_password=$(head -c 24 /dev/urandom | base64)
TF_VAR_s3_secret_access_key=$(cat "$work/s3.secret")
export TF_VAR_source_dir=$work/source TF_VAR_s3_endpoint=$s3 TF_VAR_s3_access_key_id=demo \
	TF_VAR_s3_secret_access_key TF_VAR_recovery_password
"$terraform" init -no-color >"$work/init.log" 2>&1 || fail "terraform init failed"

say "A wrong cron expression is an error in the plan, at its line"
if "$terraform" plan -no-color -input=false -var 'cron=61 * * * *' >"$work/plan.log" 2>&1; then
	fail "the plan with a wrong cron was not refused"
fi
sed -n '/Error/,$p' "$work/plan.log"

say "terraform apply: an environment, a bucket, a schedule every minute that keeps the last two"
"$terraform" apply -no-color -input=false -auto-approve >"$work/apply.log" 2>&1 || fail "terraform apply failed: $(sed -n '/Error/,$p' "$work/apply.log")"
sed -n '/^Apply complete/,$p' "$work/apply.log"
"$terraform" plan -no-color -input=false -detailed-exitcode >"$work/plan.log" 2>&1 || fail "a second plan is not empty: $(cat "$work/plan.log")"
echo "A second plan is empty."

say "The first backup runs at once (run_on_create)"
"$envbackup" runs show latest --schedule demo/minutely --follow
"$envbackup" backups list --environment demo
first=$("$envbackup" backups list --environment demo --quiet | tail -n 1)

for n in 2 3; do
	say "Changing files, then waiting for backup $n on its schedule"
	printf 'change %s\n' "$n" >"$work/source/changed-$n.txt"
	rm -rf "$work/source/test/fixedbugs/issue1$n"*
	head -c 2000000 /dev/urandom >"$work/source/added-$n.bin"
	echo ignored >"$work/source/scratch-$n.tmp"
	"$envbackup" runs wait --schedule demo/minutely --next
done

say "Retention: the oldest was pruned, and each other says why it is kept"
"$envbackup" backups list --environment demo
left=$("$envbackup" backups list --environment demo --quiet)
[[ $left != *"$first"* ]] || fail "the first backup $first is still listed"
echo "The first backup, $first, is gone."

say "The same through Terraform: data.envbackup_backups"
"$terraform" apply -no-color -input=false -auto-approve -refresh-only >"$work/refresh.log" 2>&1 || fail "terraform refresh failed: $(cat "$work/refresh.log")"
"$terraform" output -no-color backups

say "Restoring the newest backup and comparing every byte with the source"
# The schedule goes on; pausing it keeps the source and the newest backup in step.
"$envbackup" schedules pause demo/minutely >/dev/null
newest=$("$envbackup" backups list --environment demo --quiet --limit 1)
"$envbackup" restore "$newest" --target "$work/restored"
diff -r --no-dereference --exclude='*.tmp' "$work/source" "$work/restored$work/source" || fail "the restored tree differs"
echo "Identical."

say "No lock-in: stock restic checks the bucket, with the recovery password and without us"
export AWS_ACCESS_KEY_ID=demo AWS_SECRET_ACCESS_KEY=$TF_VAR_s3_secret_access_key RESTIC_PASSWORD=$TF_VAR_recovery_password
"$restic" -r "s3:$s3/envbackup-demo/backups/demo" --no-cache check --read-data | tail -n 3
"$restic" -r "s3:$s3/envbackup-demo/backups/demo" --no-cache snapshots --compact

say "Done in $((SECONDS - began)) seconds."
