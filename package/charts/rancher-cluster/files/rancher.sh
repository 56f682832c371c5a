# What registration and removal share; the chart puts it in front of either. Needs sh, sleep, curl, jq and kubectl.
#
# Rules: the token reaches curl by its standard input, never by an argument, which anyone on the node could read. What
# Rancher and kubectl answer is never printed: it may hold the agent's token.
# shellcheck disable=SC2153 # names in capitals are set by the chart
set -u
umask 077
trap 'exit 143' TERM INT

# Marks a cluster as this vcluster's.
MARK=vcluster.fn.crossplane.io/key
CLUSTERS=$RANCHER/v1/provisioning.cattle.io.clusters
OURS=$CLUSTERS/fleet-default/$CLUSTER
# Rancher's last answer.
ANSWER=$HOME/answer.json

said=
# Says a sentence once, however often it is true.
say() {
  [ "$said" = "$*" ] || printf '%s\n' "$*"
  said=$*
}

# Calls curl with the arguments and its configuration on standard input, which must not be a pipe: that would lose what is
# set here. Leaves the status in $status; 1 when there is none.
call() {
  status=$(curl --config - --silent --max-time 30 ${CA:+--cacert "$HOME/ca.pem"} ${PROXY:+--proxy "$PROXY" --noproxy "$DIRECT"} \
    --output "$ANSWER" --write-out '%{http_code}' "$@")
  case $? in
    0) return 0 ;;
    5 | 6) cause='its name is not known here, or that of the proxy' ;;
    7) cause='nobody listens there' ;;
    28) cause='it does not answer in time' ;;
    35 | 60) cause='its certificate is not trusted; name its CA in rancher.ca' ;;
    *) cause='the connection broke' ;;
  esac
  say "waiting: cannot reach Rancher at $RANCHER: $cause"
  return 1
}

# Asks Rancher: a method, a URL, and a file with what is sent, if anything.
ask() {
  line=
  # The file is read at every try: Kubernetes refreshes it in place.
  if [ -r "$TOKEN_DIR/token" ]; then IFS= read -r line <"$TOKEN_DIR/token" || :; fi
  case $line in
    '') say "waiting: Secret $TOKEN_SECRET holds no APITOKEN"; return 1 ;;
    *[!A-Za-z0-9:._-]*) say "waiting: APITOKEN of Secret $TOKEN_SECRET is not of the form token-x:secret"; return 1 ;;
  esac
  insecure=
  [ "$INSECURE" != true ] || insecure=insecure
  printf 'user = "%s"\n%s\n' "$line" "$insecure" >"$HOME/curl" || return 1
  call --request "$1" --url "$2" ${3:+--header 'Content-Type: application/json' --data-binary "@$3"} <"$HOME/curl"
}

# Says which step Rancher's answer does not allow. Always 1, so that a caller can `return` with it.
unexpected() {
  case $status in
    401 | 403) say "waiting: cannot $1: Rancher refuses the token of Secret $TOKEN_SECRET ($status)" ;;
    3??) say "waiting: cannot $1: Rancher sends us elsewhere ($status); give rancher.url as it is, with https" ;;
    *) say "waiting: cannot $1: Rancher answers $status" ;;
  esac
  return 1
}

# Leaves what a jq program finds in the last answer in $found, nothing when it finds nothing.
find_in_answer() {
  found=$(jq --raw-output "$@" "$ANSWER" 2>/dev/null) || found=
}

# Leaves what ConfigMap $RELEASE remembers in $asked and $known_id: whether Rancher may ever have made anything, and its id
# of our cluster. Without the ConfigMap, nobody but Rancher knows.
recall() {
  kubectl --namespace "$NAMESPACE" get configmap "$RELEASE" --ignore-not-found --request-timeout=30s --output json \
    >"$HOME/memory.json" 2>/dev/null || { say "waiting: cannot read ConfigMap $NAMESPACE/$RELEASE"; return 1; }
  asked=true known_id=''
  [ -s "$HOME/memory.json" ] || return 0
  asked=$(jq --raw-output '.data.asked // ""' "$HOME/memory.json") &&
    known_id=$(jq --raw-output '.data.id // ""' "$HOME/memory.json")
}

# Leaves absent, ours or foreign in $cluster_is, its id in $cluster_id, and whether it is being removed in $leaving; 1 when
# Rancher gave no answer.
look() {
  cluster_id='' leaving=false
  ask GET "$OURS" || return 1
  case $status in
    200) ;;
    404) cluster_is=absent; return 0 ;;
    *) unexpected "look at cluster $CLUSTER"; return ;;
  esac
  find_in_answer '.status.clusterName // ""'
  case $found in
    *[!a-z0-9-]*) ;;
    *) cluster_id=$found ;;
  esac
  find_in_answer '.metadata.deletionTimestamp != null'
  leaving=$found
  # shellcheck disable=SC2016 # jq's variable
  find_in_answer --arg mark "$MARK" '.metadata.annotations[$mark] // ""'
  cluster_is=foreign
  # An id is given once: what we have taken over is known by it.
  if [ "$found" = "$CLUSTER" ] || { [ -n "$cluster_id" ] && [ "$cluster_id" = "$known_id" ]; }; then cluster_is=ours; fi
}

# Repeats $1 until it succeeds.
until_done() {
  pause=1
  until "$1"; do
    sleep "$pause"
    [ "$pause" -ge 16 ] || pause=$((pause * 2))
  done
}

for tool in curl jq kubectl; do
  command -v "$tool" >/dev/null || { echo "the image has no $tool: name one with sh, curl, jq and kubectl in the chart's value image"; exit 1; }
done
[ -z "$CA" ] || printf '%s\n' "$CA" >"$HOME/ca.pem" || exit 1
