{{/*
Everything that is awaited. A failure while rendering leaves no release behind and is tried again, so a Secret or a
namespace that comes later is found then. (`helm template` and client-side dry runs cannot look, so they always fail.)
*/}}
{{- define "backup-keys.check" -}}
{{- if not .Values.clustername -}}
{{- fail "clustername is not set: give the Helm release name of the vcluster" -}}
{{- end -}}
{{- if not .Values.hostNamespace -}}
{{- fail "hostNamespace is not set: give the namespace of the vcluster" -}}
{{- end -}}
{{- if not (or .Values.identity.secret .Values.passphrase.secret .Values.credentials.secret) -}}
{{- fail "nothing is to be copied: name a Secret in identity.secret, passphrase.secret or credentials.secret" -}}
{{- end -}}
{{- $namespace := lookup "v1" "Namespace" "" .Values.hostNamespace -}}
{{- if not $namespace -}}
{{- fail (printf "namespace %s is not there yet: it comes with the vcluster" .Values.hostNamespace) -}}
{{- end -}}
{{- if dig "metadata" "deletionTimestamp" "" $namespace -}}
{{- fail (printf "namespace %s is being deleted: nothing is copied into it" .Values.hostNamespace) -}}
{{- end -}}
{{- end -}}

{{/*
What is copied from one Secret, as JSON. Takes root, secret, keys (none: all) and what it is for.
*/}}
{{- define "backup-keys.source" -}}
{{- $place := printf "Secret %s of namespace %s (%s)" .secret .root.Release.Namespace .purpose -}}
{{- $found := lookup "v1" "Secret" .root.Release.Namespace .secret -}}
{{- if not $found -}}
{{- fail (printf "%s is not there: make it with %s" $place (.keys | default (list "the store's credentials") | join " and ")) -}}
{{- end -}}
{{- $data := dig "data" dict $found -}}
{{- $copy := dict -}}
{{- range .keys | default (keys $data | sortAlpha) -}}
{{- if not (get $data .) -}}
{{- fail (printf "%s holds no %s: add it" $place .) -}}
{{- end -}}
{{- $_ := set $copy . (get $data .) -}}
{{- end -}}
{{- if not $copy -}}
{{- fail (printf "%s is empty: fill it" $place) -}}
{{- end -}}
{{- toJson $copy -}}
{{- end -}}

{{/*
One copy. A Secret of that name that this release has not made is nobody's to write over: a person may have brought it.
Takes root, name, data and revisions.
*/}}
{{- define "backup-keys.copy" -}}
{{- $namespace := .root.Values.hostNamespace -}}
{{- $there := lookup "v1" "Secret" $namespace .name -}}
{{- $owner := printf "%s/%s" (dig "metadata" "annotations" "meta.helm.sh/release-namespace" "" $there) (dig "metadata" "annotations" "meta.helm.sh/release-name" "" $there) -}}
{{- if and $there (ne $owner (printf "%s/%s" .root.Release.Namespace .root.Release.Name)) -}}
{{- fail (printf "Secret %s of namespace %s is there and was not made by this release: remove it, and it is copied from the platform's" .name $namespace) -}}
{{- end -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .name }}
  namespace: {{ $namespace | quote }}
  labels:
    app.kubernetes.io/name: backup-keys
    app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
    app.kubernetes.io/managed-by: {{ .root.Release.Service }}
    helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
  annotations:
    vcluster.fn.crossplane.io/revision: {{ without .revisions "" | join "," | quote }}
type: Opaque
data:
  {{- range $key, $value := .data }}
  {{ $key }}: {{ $value | quote }}
  {{- end }}
{{- end -}}
