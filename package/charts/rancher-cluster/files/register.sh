# Registers one vcluster with Rancher. Repeatable: each try looks first and brings about what is missing, so a run that was
# cut short, and a second one, end in the same state.
#
# Ends when the vcluster has taken Rancher's agent. A Rancher that is away, a token that is wrong or missing, a vcluster that
# is not up, a cluster that belongs to someone else: it says so and looks again, without limit.

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

# Remembers in the ConfigMap. What is remembered outlives Job and pod, and goes with the release.
remember() {
  kubectl --namespace "$NAMESPACE" patch configmap "$RELEASE" --type merge --patch "{\"data\":$1}" --request-timeout=30s \
    >/dev/null 2>&1 || { say "waiting: cannot write ConfigMap $NAMESPACE/$RELEASE"; return 1; }
}

look_for_registration() {
  ask GET "$RANCHER/v3/clusterregistrationtokens?clusterId=$cluster_id" || return 1
  [ "$status" = 200 ] || { unexpected "look for the registration of $cluster_id"; return; }
}

# The manifest's URL holds the agent's token, so it needs no other.
fetch_manifest() {
  look_for_registration || return 1
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

open_vcluster() {
  kubectl --namespace "$VCLUSTER_NAMESPACE" get secret "vc-$VCLUSTER" --request-timeout=30s \
    --output 'go-template={{.data.config | base64decode}}' >"$HOME/kubeconfig" 2>/dev/null || {
    say "waiting: cannot read Secret vc-$VCLUSTER of namespace $VCLUSTER_NAMESPACE, which the vcluster writes when it is up"
    return 1
  }
}

# Runs kubectl in the vcluster.
inside() {
  kubectl --kubeconfig "$HOME/kubeconfig" ${VCLUSTER_SERVER:+--server "$VCLUSTER_SERVER"} --request-timeout=30s "$@" 2>/dev/null
}

apply_manifest() {
  open_vcluster || return 1
  inside apply --filename "$HOME/manifest.yaml" >/dev/null || {
    say "waiting: vcluster $VCLUSTER does not take Rancher's manifest: it is not up, or cannot be reached from here"
    return 1
  }
}

# Leaves in $same whether the agent of cluster $cluster_id is in the vcluster. Its token stays in files: it is no argument of
# jq either.
look_for_agent() {
  same=false
  [ -n "$cluster_id" ] || return 0
  look_for_registration && open_vcluster || return 1
  inside --namespace cattle-system get secrets --output json >"$HOME/agent.json" || {
    say "waiting: vcluster $VCLUSTER does not show which agent it has: it is not up, or cannot be reached from here"
    return 1
  }
  # shellcheck disable=SC2016 # jq's variables
  same=$(jq --slurpfile rancher "$ANSWER" '
    any(.items[] | select(.metadata.name | startswith("cattle-credentials")) | .data.token // "" | @base64d | select(. != "");
      . as $token | any($rancher[0].data[]?.manifestUrl // ""; contains("/" + $token + "_")))' "$HOME/agent.json" 2>/dev/null) ||
    same=false
}

# A cluster without our annotation, as the upstream chart has made it, is this vcluster when its agent is in here.
take_over() {
  look_for_agent || return 1
  if [ "$same" != true ]; then
    say "refused: cluster $CLUSTER exists in Rancher, has no annotation $MARK=$CLUSTER, and its agent is not in this vcluster." \
      "Nothing was changed. If it is this vcluster, say so in Rancher's own cluster: kubectl annotate" \
      "clusters.provisioning.cattle.io --namespace fleet-default $CLUSTER $MARK=$CLUSTER. Else remove it in Rancher, or" \
      "give the vcluster another id. This Job looks again until then."
    return 1
  fi
  remember "{\"asked\":\"true\",\"id\":\"$cluster_id\"}" || return 1
  echo "cluster $CLUSTER is taken over: its agent is in this vcluster"
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
  recall && look || return 1
  if [ "$leaving" = true ]; then
    say "waiting: cluster $CLUSTER is being removed from Rancher; it is made anew when it is gone"
    return 1
  fi
  case $cluster_is in
    foreign) take_over || return 1 ;;
    absent)
      # Before anything is made: the removal asks Rancher only when there may be something to remove.
      [ "$asked" = true ] || remember '{"asked":"true"}' || return 1
      make_cluster && look && [ "$cluster_is" = ours ] || return 1
      ;;
  esac
  [ -n "$cluster_id" ] || { say "waiting: Rancher has given cluster $CLUSTER no id yet"; return 1; }
  remember "{\"asked\":\"true\",\"id\":\"$cluster_id\"}" && fetch_manifest && apply_manifest && add_owner || return 1
  # The Release is ready when this is there.
  remember "{\"registered\":\"$cluster_id\"}" || return 1
  echo "vcluster $VCLUSTER is registered as $cluster_id"
}

until_done register
