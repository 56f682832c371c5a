# Removes one vcluster from Rancher. Repeatable: what is gone already is no error. What belongs to someone else is left
# alone and said; it is no reason to keep the release. Nor is a Rancher that is away, when nothing was ever asked of it.

# The registration might be waiting for the very Rancher that answers now. A pod on a node that is lost never ends; that
# must not keep the release.
stop_registration() {
  kubectl --namespace "$NAMESPACE" delete job "$REGISTRATION" --ignore-not-found --cascade=foreground --timeout=60s \
    >/dev/null 2>&1 || say "Job $NAMESPACE/$REGISTRATION could not be ended; going on"
}

seen_leaving=0
removed="is not in Rancher"

unregister() {
  recall || return 1
  if [ -z "$asked" ]; then
    echo "nothing was ever asked of Rancher for cluster $CLUSTER"
    return 0
  fi
  look || return 1
  case $cluster_is in
    absent) echo "cluster $CLUSTER $removed"; return 0 ;;
    foreign) echo "cluster $CLUSTER is not this vcluster's and was left alone"; return 0 ;;
  esac
  if [ "$leaving" = false ]; then
    ask DELETE "$OURS" || return 1
    case $status in
      200 | 202 | 204 | 404) removed="is removed from Rancher"; pause=1; return 1 ;;
      *) unexpected "remove cluster $CLUSTER"; return ;;
    esac
  fi
  # What Rancher has begun it ends. After two minutes nobody waits for it: its agent may be gone already.
  removed="is removed from Rancher"
  seen_leaving=$((seen_leaving + 1))
  if [ "$seen_leaving" -ge 12 ]; then
    echo "Rancher is still removing cluster $CLUSTER, and goes on by itself"
    return 0
  fi
  say "waiting: Rancher is removing cluster $CLUSTER"
  return 1
}

stop_registration
until_done unregister
