# Registers one vcluster with Rancher. Repeatable: each try looks first and brings about what is missing, so a run that was
# cut short, and a second one, end in the same state.
#
# Ends with 0 when the vcluster has taken Rancher's agent, with 3 when the cluster in Rancher belongs to someone else. A
# Rancher that is away, a token that is wrong or missing, a vcluster that is not up: it says so and waits.

make_cluster() {
  # shellcheck disable=SC2016 # jq's variables
  jq --null-input --arg name "$CLUSTER" --arg mark "$MARK" --argjson spec "$SPEC" '{
    type: "provisioning.cattle.io.cluster",
    metadata: {namespace: "fleet-default", name: $name, annotations: {($mark): $name}},
    spec: $spec
  }' >"$HOME/cluster.json" || return 1
  ask POST "$CLUSTERS" "$HOME/cluster.json" || return 1
  case $status in
    # 409: somebody was faster; the next look tells who.
    200 | 201 | 409) ;;
    *) unexpected "make cluster $CLUSTER" ;;
  esac
}

find_cluster_id() {
  find_in_answer '.status.clusterName // ""'
  case $found in
    '' | *[!a-z0-9-]*) say "waiting: Rancher has given cluster $CLUSTER no id yet"; return 1 ;;
  esac
  cluster_id=$found
}

# The manifest's URL holds the agent's token, so it needs no other.
fetch_manifest() {
  ask GET "$RANCHER/v3/clusterregistrationtokens?clusterId=$cluster_id" || return 1
  [ "$status" = 200 ] || { unexpected "look for the registration of $cluster_id"; return; }
  find_in_answer '[.data[]?.manifestUrl // empty | select(. != "")][0] // ""'
  case $found in
    '') say "waiting: Rancher has made no registration for $cluster_id yet"; return 1 ;;
    *[\"\\]*) say "waiting: the registration of $cluster_id names no URL"; return 1 ;;
  esac
  printf 'url = "%s"\n%s\n' "$found" "$insecure" >"$HOME/curl" || return 1
  call <"$HOME/curl" || return 1
  [ "$status" = 200 ] || { unexpected "fetch the manifest of $cluster_id"; return; }
  mv "$ANSWER" "$HOME/manifest.yaml"
}

apply_manifest() {
  kubectl --namespace "$VCLUSTER_NAMESPACE" get secret "vc-$VCLUSTER" --request-timeout=30s \
    --output 'go-template={{.data.config | base64decode}}' >"$HOME/kubeconfig" 2>/dev/null || {
    say "waiting: cannot read Secret vc-$VCLUSTER of namespace $VCLUSTER_NAMESPACE, which the vcluster writes when it is up"
    return 1
  }
  kubectl --kubeconfig "$HOME/kubeconfig" ${VCLUSTER_SERVER:+--server "$VCLUSTER_SERVER"} --request-timeout=30s \
    apply --filename "$HOME/manifest.yaml" >/dev/null 2>&1 || {
    say "waiting: vcluster $VCLUSTER does not take Rancher's manifest: it is not up, or cannot be reached from here"
    return 1
  }
}

add_owner() {
  [ -n "$OWNER" ] || return 0
  bindings=$RANCHER/v3/clusterroletemplatebindings
  ask GET "$bindings?clusterId=$cluster_id" || return 1
  [ "$status" = 200 ] || { unexpected "look for the owners of $cluster_id"; return; }
  # shellcheck disable=SC2016 # jq's variable
  find_in_answer --arg owner "$OWNER" \
    'any(.data[]?; .userPrincipalId == $owner and .roleTemplateId == "cluster-owner")'
  [ "$found" != true ] || return 0
  # shellcheck disable=SC2016 # jq's variables
  jq --null-input --arg id "$cluster_id" --arg owner "$OWNER" '{
    type: "clusterRoleTemplateBinding", clusterId: $id, roleTemplateId: "cluster-owner", userPrincipalId: $owner
  }' >"$HOME/owner.json" || return 1
  ask POST "$bindings" "$HOME/owner.json" || return 1
  case $status in
    200 | 201) ;;
    *) unexpected "make $OWNER the owner of $cluster_id" ;;
  esac
}

register() {
  look || return 1
  if [ "$cluster_is" = foreign ]; then
    echo "refused: cluster $CLUSTER exists in Rancher and has no annotation $MARK=$CLUSTER. Nothing was changed." \
      "If it is this vcluster, annotate it; else remove it there, or give the vcluster another id."
    return "$REFUSED"
  fi
  if [ "$cluster_is" = absent ]; then
    make_cluster && look && [ "$cluster_is" = ours ] || return 1
  fi
  find_cluster_id && fetch_manifest && apply_manifest && add_owner || return 1
  echo "vcluster $VCLUSTER is registered as $cluster_id"
}

command -v kubectl >/dev/null || { echo "the image has no kubectl: name one with sh, curl, jq and kubectl in the chart's value image"; exit 1; }
until_done register
