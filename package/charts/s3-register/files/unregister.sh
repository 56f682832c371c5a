# Removes bucket, user and policy of one vcluster, when its claim said `deletionPolicy: Delete`. Repeatable: what is gone
# already is no error. What belongs to someone else is left alone and said; it is no reason to keep the release.

# The user goes first, so that nothing is written meanwhile; the policy last, since it tells that the user is ours.
unregister() {
  login_admin && look || return 1
  if [ "$user_is" = ours ]; then
    # A user that has no policy any more was cut short here before; the removal below tells whether anything is wrong.
    ask admin policy detach "$STORE" "$CLUSTER" --user "$CLUSTER"
    ask admin user remove "$STORE" "$CLUSTER" || { failed "remove user $CLUSTER"; return; }
  fi
  if [ "$bucket_is" = ours ] || [ "$bucket_is" = untagged ]; then
    ask rb --force "$STORE/$BUCKET" || { failed "remove bucket $BUCKET"; return; }
  fi
  if [ "$policy_is" = ours ]; then
    ask admin policy remove "$STORE" "$CLUSTER" || { failed "remove policy $CLUSTER"; return; }
  fi
  [ "$user_is" != foreign ] || echo "user $CLUSTER is not this vcluster's and was left alone"
  [ "$bucket_is" != foreign ] || echo "bucket $BUCKET is not this vcluster's and was left alone"
  [ "$policy_is" != foreign ] || echo "policy $CLUSTER is not this vcluster's and was left alone"
  echo "nothing of vcluster $CLUSTER is left in the store"
}

until_done unregister
