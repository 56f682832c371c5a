# Makes bucket, user and policy of one vcluster. Repeatable: each try looks first and brings about what is missing, so a
# run that was cut short, and a second one, end in the same state.
#
# Ends with 0 when the user can list the bucket, with 3 when one of the three belongs to someone else. A store that is
# away, keys that are wrong or missing: it says so and waits, without limit.

refuse() {
  echo "refused: $1. Nothing was changed. $2, or give the vcluster another id."
  return "$REFUSED"
}

refuse_foreign() {
  if [ "$policy_is" = foreign ]; then
    refuse "policy $CLUSTER exists and has no statement with Sid $SID" "Remove the policy if nobody needs it"
  elif [ "$user_is" = foreign ]; then
    refuse "user $CLUSTER exists and does not bear our policy $CLUSTER" "Remove the user if nobody needs it"
  elif [ "$bucket_is" = foreign ]; then
    refuse "bucket $BUCKET exists and has no tag $TAG=$CLUSTER" "If its backups are this vcluster's, tag it"
  fi
}

put_policy() {
  more_bucket='' more_object=''
  if [ "$ALLOW_DELETE" = true ]; then
    more_bucket=',"s3:ListBucketMultipartUploads"'
    more_object=',"s3:DeleteObject","s3:ListMultipartUploadParts"'
  fi
  # Statements of their own, so that one more bucket is one more line and never a right to write.
  more_buckets=''
  for source in $READ_FROM; do
    more_buckets=$more_buckets',{"Effect":"Allow","Action":["s3:GetBucketLocation","s3:ListBucket"],'
    more_buckets=$more_buckets'"Resource":["arn:aws:s3:::'$source'"]},{"Effect":"Allow","Action":["s3:GetObject"],'
    more_buckets=$more_buckets'"Resource":["arn:aws:s3:::'$source'/*"]}'
  done
  printf '%s' '{"Version":"2012-10-17","Statement":[{"Sid":"' "$SID" '","Effect":"Allow",' \
    '"Action":["s3:GetBucketLocation","s3:ListBucket"' "$more_bucket" '],' \
    '"Resource":["arn:aws:s3:::' "$BUCKET" '"]},{"Effect":"Allow",' \
    '"Action":["s3:GetObject","s3:PutObject","s3:AbortMultipartUpload"' "$more_object" '],' \
    '"Resource":["arn:aws:s3:::' "$BUCKET" '/*"]}' "$more_buckets" ']}' >"$MC_CONFIG_DIR/policy.json" || return 1
  ask admin policy create "$STORE" "$CLUSTER" "$MC_CONFIG_DIR/policy.json" || failed "put policy $CLUSTER"
}

# For a user that exists this sets the same secret key again, and leaves its policies alone.
add_user() {
  first_line "$USER_DIR/s3secretkey" || { say "waiting: Secret $CLUSTER-s3 beside this Job holds no s3secretkey"; return 1; }
  answer=$(printf '%s\n%s\n' "$CLUSTER" "$line" | mc --json admin user add "$STORE" 2>&1) || failed "add user $CLUSTER"
}

make_bucket() {
  case $bucket_is in
    ours) return 0 ;;
    absent) ask mb ${REGION:+--region "$REGION"} "$STORE/$BUCKET" || { failed "make bucket $BUCKET"; return; } ;;
  esac
  ask tag set "$STORE/$BUCKET" "$TAG=$CLUSTER" || failed "tag bucket $BUCKET"
}

# One that nobody asks for any more stays: an administrator may have set it.
limit_bucket() {
  [ -z "${QUOTA:-}" ] || ask quota set "$STORE/$BUCKET" --size "$QUOTA" || failed "set the quota of bucket $BUCKET"
}

# The order makes every state in between recognisable: the policy is the first thing that is ours, and the user can
# write nothing before the bucket bears its tag.
register() {
  login_admin && look || return 1
  refuse_foreign || return
  put_policy && add_user && make_bucket && limit_bucket || return 1
  ask admin policy attach "$STORE" "$CLUSTER" --user "$CLUSTER" || case $answer in
    *PolicyChangeAlreadyApplied*) ;;
    *) failed "attach policy $CLUSTER"; return ;;
  esac
  login tenant "$USER_DIR/s3accesskey" "$USER_DIR/s3secretkey" "Secret $CLUSTER-s3 beside this Job" || return 1
  ask ls "tenant/$BUCKET" || { failed "list bucket $BUCKET as its user"; return; }
  echo "bucket $BUCKET is ready for user $CLUSTER"
}

until_done register
