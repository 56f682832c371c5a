# Removes one vcluster from Rancher. Repeatable: what is gone already is no error. What belongs to someone else is left
# alone and said; it is no reason to keep the release.

unregister() {
  look || return 1
  case $cluster_is in
    absent) echo "cluster $CLUSTER is not in Rancher"; return 0 ;;
    foreign) echo "cluster $CLUSTER is not this vcluster's and was left alone"; return 0 ;;
  esac
  ask DELETE "$OURS" || return 1
  case $status in
    200 | 202 | 204 | 404) echo "cluster $CLUSTER is removed from Rancher" ;;
    *) unexpected "remove cluster $CLUSTER" ;;
  esac
}

until_done unregister
