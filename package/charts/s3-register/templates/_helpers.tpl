{{/* Inputs without which nothing sensible can be rendered. A failure here leaves no release behind and heals with the values. */}}
{{- define "s3-register.check" -}}
{{- $s3 := .Values.s3 -}}
{{- if or (hasKey $s3 "adminuser") (hasKey $s3 "adminpassword") -}}
{{- fail "s3.adminuser and s3.adminpassword are not accepted: values are stored in clear with the Helm release. Put both into a Secret in the platform namespace and name it in s3.existingSecret (keys: s3.adminUserKey, s3.adminPasswordKey)" -}}
{{- end -}}
{{- if not .Values.clustername -}}
{{- fail "clustername is not set: give the name of the vcluster, as a rule that of its Helm release" -}}
{{- end -}}
{{- if not .Values.platformNamespace -}}
{{- fail "platformNamespace is not set: give the namespace the registration Job runs in; it must exist" -}}
{{- end -}}
{{- if eq .Values.register "minio" -}}
{{- if not $s3.url -}}
{{- fail "s3.url is not set: give the store's endpoint as http(s)://host:port, or set register to none" -}}
{{- end -}}
{{- if not $s3.existingSecret -}}
{{- fail "s3.existingSecret is not set: name a Secret in the platform namespace that holds the store's admin credentials, or set register to none" -}}
{{- end -}}
{{- end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.ports) (not $s3.url) -}}
{{- fail "networkPolicy.ports is empty and s3.url is not set: give the store's TCP ports" -}}
{{- end -}}
{{- end -}}

{{- define "s3-register.bucket" -}}
{{- .Values.bucket | default .Values.clustername -}}
{{- end -}}

{{/* The vcluster's Helm release, after which its chart names everything. */}}
{{- define "s3-register.release" -}}
{{- .Values.release | default .Values.clustername -}}
{{- end -}}

{{- define "s3-register.labels" -}}
app.kubernetes.io/name: s3-register
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* What outlives the release, unless everything is to go with it. */}}
{{- define "s3-register.keep" -}}
{{- if eq .Values.deletionPolicy "Retain" }}
annotations:
  helm.sh/resource-policy: keep
{{- end }}
{{- end -}}

{{/*
The user's secret key, in base64, drawn once in the life of the vcluster: the platform's copy leads, because it outlives
a host namespace that was removed by hand, and the store knows no other. 32 of 62 characters; MinIO takes at most 40.
*/}}
{{- define "s3-register.password" -}}
{{- $name := printf "%s-s3" .Values.clustername -}}
{{- $platform := dig "data" "s3secretkey" "" (lookup "v1" "Secret" .Values.platformNamespace $name) -}}
{{- $host := dig "data" "s3secretkey" "" (lookup "v1" "Secret" .Release.Namespace $name) -}}
{{- $platform | default $host | default (randAlphaNum 32 | b64enc) -}}
{{- end -}}

{{- define "s3-register.secret" -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ .root.Values.clustername }}-s3
  namespace: {{ .namespace | quote }}
  labels:
    {{- include "s3-register.labels" .root | nindent 4 }}
  {{- include "s3-register.keep" .root | nindent 2 }}
type: Opaque
data:
  s3accesskey: {{ .root.Values.clustername | b64enc | quote }}
  s3secretkey: {{ .password | quote }}
{{- end -}}

{{/*
The spec of a Job that speaks to the store as its administrator. Scripts are files, so that they can be checked and run
as they are; everything they need comes by environment and mounted files, secrets by files alone.
Takes root, script, backoffLimit.
*/}}
{{- define "s3-register.jobSpec" -}}
{{- $values := .root.Values -}}
{{- $script := printf "%s\n%s" (.root.Files.Get "files/store.sh") (.root.Files.Get .script) -}}
backoffLimit: {{ .backoffLimit }}
template:
  metadata:
    labels:
      app.kubernetes.io/name: s3-register
      app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
  spec:
    restartPolicy: Never
    automountServiceAccountToken: false
    enableServiceLinks: false
    securityContext:
      runAsNonRoot: true
      runAsUser: 1000
      runAsGroup: 1000
      fsGroup: 1000
      seccompProfile:
        type: RuntimeDefault
    {{- with $values.imagePullSecrets }}
    imagePullSecrets:
      {{- range . }}
      - name: {{ . | quote }}
      {{- end }}
    {{- end }}
    containers:
      - name: register
        image: {{ $values.image | quote }}
        command: ["/bin/sh", "-c"]
        args:
          - {{ $script | toJson }}
        env:
          - name: CLUSTER
            value: {{ $values.clustername | quote }}
          - name: BUCKET
            value: {{ include "s3-register.bucket" .root | quote }}
          - name: ENDPOINT
            value: {{ $values.s3.url | trimSuffix "/" | quote }}
          - name: REGION
            value: {{ $values.s3.region | quote }}
          - name: CA
            value: {{ $values.s3.ca | toJson }}
          - name: ALLOW_DELETE
            value: {{ $values.allowDelete | quote }}
          {{- with $values.quota }}
          - name: QUOTA
            value: {{ . | quote }}
          {{- end }}
          - name: READ_FROM
            value: {{ join " " $values.readFrom | quote }}
          - name: ADMIN_SECRET
            value: {{ printf "%s/%s" $values.platformNamespace $values.s3.existingSecret | quote }}
          - name: ADMIN_DIR
            value: /secrets/admin
          - name: USER_DIR
            value: /secrets/user
          - name: HOME
            value: /scratch
          - name: MC_CONFIG_DIR
            value: /scratch/mc
        resources:
          {{- toYaml $values.resources | nindent 10 }}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop: ["ALL"]
        volumeMounts:
          - name: admin
            mountPath: /secrets/admin
            readOnly: true
          - name: user
            mountPath: /secrets/user
            readOnly: true
          - name: work
            mountPath: /scratch
    volumes:
      # Optional, so that a Secret that is made or mended later is waited for with a sentence in the log.
      - name: admin
        secret:
          secretName: {{ $values.s3.existingSecret | quote }}
          optional: true
          defaultMode: 0440
          items:
            - key: {{ $values.s3.adminUserKey | quote }}
              path: user
            - key: {{ $values.s3.adminPasswordKey | quote }}
              path: password
      - name: user
        secret:
          secretName: {{ $values.clustername }}-s3
          optional: true
          defaultMode: 0440
      # In memory: mc keeps the admin's keys in its configuration.
      - name: work
        emptyDir:
          medium: Memory
          sizeLimit: 16Mi
{{- end -}}
