# What registration and removal share; the chart puts it in front of either. Needs sh, sleep and mc, nothing else.
#
# Rules: secrets reach mc by its standard input, never by an argument, which anyone on the node could read. What mc
# answers is never printed as a whole, because it repeats the secrets it was given: only the cause it names is.
set -u
umask 077
trap 'exit 143' TERM INT

# mc's name for the store, logged in as its administrator.
STORE=store
TAG=vcluster.fn.crossplane.io/key
# Marks the policy as ours. IAM allows letters and digits in a Sid, so the dashes of the name are dropped.
SID=VclusterBackup
rest=$CLUSTER
while [ "$rest" != "${rest#*-}" ]; do
  SID=$SID${rest%%-*}
  rest=${rest#*-}
done
SID=$SID$rest

# An exit code of its own: what was found belongs to someone else, and no waiting changes that.
REFUSED=3

said=
# Says a sentence once, however often it is true.
say() {
  [ "$said" = "$*" ] || printf '%s\n' "$*"
  said=$*
}

# Runs mc; what it says is in $answer, its exit code in $?.
ask() {
  answer=$(mc --json --disable-pager "$@" 2>&1)
}

# Says which step did not work and the cause mc names for it. Always 1, so that a caller can `return` with it.
failed() {
  cause=${answer#*'"cause":{"message":"'}
  if [ "$cause" = "$answer" ]; then
    cause='mc names no cause'
  else
    cause=${cause%%'","error"'*}
    # A failed connection names the URL first, with a random bucket in it, which would make each try a new sentence.
    cause=${cause##*'\": '}
  fi
  say "waiting: cannot $1: $cause"
  return 1
}

# Leaves the first line of a mounted file in $line. Files are read at every try: Kubernetes refreshes them in place.
first_line() {
  line=
  if [ -r "$1" ]; then IFS= read -r line <"$1" || :; fi
  [ -n "$line" ]
}

# Logs mc in under the name $1 with the credentials in files $2 and $3, which $4 tells the reader where to mend.
login() {
  first_line "$2" || { say "waiting: $4 holds no access key"; return 1; }
  access=$line
  first_line "$3" || { say "waiting: $4 holds no secret key"; return 1; }
  answer=$(printf '%s\n%s\n' "$access" "$line" | mc --json alias set "$1" "$ENDPOINT" 2>&1) && return 0
  case $answer in
    # mc repeats the key in these two.
    *'Invalid secret key'* | *'Invalid access key'*) say "waiting: $4 holds keys that are too short to be any" ;;
    *InvalidAccessKeyId* | *SignatureDoesNotMatch* | *AccessDenied*) say "waiting: $ENDPOINT refuses the keys of $4" ;;
    *) failed "reach the store at $ENDPOINT" ;;
  esac
  return 1
}

login_admin() {
  login "$STORE" "$ADMIN_DIR/user" "$ADMIN_DIR/password" "Secret $ADMIN_SECRET (the store's administrator)"
}

# The next three leave absent, ours or foreign in policy_is, user_is and bucket_is; 1 when the store gave no answer.
look_at_policy() {
  ask admin policy info "$STORE" "$CLUSTER"
  case $?/$answer in
    0/*"\"Sid\":\"$SID\""*) policy_is=ours ;;
    0/*) policy_is=foreign ;;
    */*NoSuchPolicy*) policy_is=absent ;;
    *) failed "look at policy $CLUSTER" ;;
  esac
}

# A user is ours by our policy on it. One without any is ours only when our policy waits for it: the run that made both
# was cut short.
look_at_user() {
  ask admin user info "$STORE" "$CLUSTER"
  case $?/$answer in
    0/*'"policyName":"'*)
      attached=${answer#*'"policyName":"'}
      user_is=foreign
      case $policy_is/,${attached%%'"'*}, in ours/*",$CLUSTER,"*) user_is=ours ;; esac
      ;;
    0/*) if [ "$policy_is" = ours ]; then user_is=ours; else user_is=foreign; fi ;;
    */*NoSuchUser*) user_is=absent ;;
    *) failed "look at user $CLUSTER" ;;
  esac
}

# A bucket is ours by its tag. `untagged` is an empty one without tags: a run cut short between making and tagging it
# leaves such a bucket, and only while our policy exists already is it taken for that.
look_at_bucket() {
  ask tag list "$STORE/$BUCKET"
  case $?/$answer in
    0/*"\"$TAG\":\"$CLUSTER\""*) bucket_is=ours ;;
    0/*) bucket_is=foreign ;;
    */*NoSuchBucket*) bucket_is=absent ;;
    */*'No tags found'*)
      ask ls --recursive --versions "$STORE/$BUCKET" || { failed "list bucket $BUCKET"; return; }
      bucket_is=foreign
      if [ -z "$answer" ] && [ "$policy_is" = ours ]; then bucket_is=untagged; fi
      ;;
    *) failed "look at the tags of bucket $BUCKET" ;;
  esac
}

# Looks at everything before anything is touched.
look() {
  look_at_policy && look_at_user && look_at_bucket
}

# Repeats $1 until it succeeds or refuses.
until_done() {
  pause=1
  while :; do
    "$1"
    case $? in
      0) exit 0 ;;
      "$REFUSED") exit "$REFUSED" ;;
    esac
    sleep "$pause"
    [ "$pause" -ge 16 ] || pause=$((pause * 2))
  done
}

command -v mc >/dev/null || { echo "the image has no mc: give one with sh and mc in the chart's value image"; exit 1; }
mkdir -p "$MC_CONFIG_DIR/certs/CAs" || exit 1
[ -z "$CA" ] || printf '%s\n' "$CA" >"$MC_CONFIG_DIR/certs/CAs/store.pem" || exit 1
