{{/* Inputs without which nothing sensible can be rendered. A failure here leaves no release behind and heals with the values. */}}
{{- define "rancher-cluster.check" -}}
{{- $values := .Values -}}
{{- if hasKey $values.rancher "apitoken" -}}
{{- fail "rancher.apitoken is not accepted: values are stored in clear with the Helm release. Put it into a Secret of the release's namespace, key APITOKEN, and name that in rancher.existingSecret" -}}
{{- end -}}
{{- if not $values.rancher.url -}}
{{- fail "rancher.url is not set: give the server as http(s)://host[:port]" -}}
{{- end -}}
{{- if not $values.clustername -}}
{{- fail "clustername is not set: give the cluster's name in Rancher" -}}
{{- end -}}
{{- if not $values.vclusterReleaseName -}}
{{- fail "vclusterReleaseName is not set: give the Helm release of the vcluster" -}}
{{- end -}}
{{- if and $values.httpProxy.enabled (not $values.httpProxy.address) -}}
{{- fail "httpProxy.address is not set: give the proxy as http(s)://host[:port], or set httpProxy.enabled to false" -}}
{{- end -}}
{{- if and $values.createOwner.enabled (not $values.createOwner.userPrincipalName) -}}
{{- fail "createOwner.userPrincipalName is not set: give the owner as Rancher names him, or set createOwner.enabled to false" -}}
{{- end -}}
{{- end -}}

{{- define "rancher-cluster.namespace" -}}
{{- .Values.targetnamespace | default .Release.Namespace -}}
{{- end -}}

{{- define "rancher-cluster.labels" -}}
app.kubernetes.io/name: rancher-cluster
app.kubernetes.io/instance: {{ .Release.Name | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{/* The cluster's `spec` in Rancher, as JSON. */}}
{{- define "rancher-cluster.spec" -}}
{{- $spec := dict -}}
{{- with .Values.httpProxy }}
{{- if .enabled -}}
{{- $http := dict "name" "HTTP_PROXY" "value" .address -}}
{{- $https := dict "name" "HTTPS_PROXY" "value" .address -}}
{{- $none := dict "name" "NO_PROXY" "value" .noProxy -}}
{{- $_ := set $spec "agentEnvVars" (list $http $https $none) -}}
{{- end -}}
{{- end -}}
{{- with .Values.agent.resources -}}
{{- $_ := set $spec "clusterAgentDeploymentCustomization" (dict "overrideResourceRequirements" .) -}}
{{- end -}}
{{- with .Values.fleetAgent.resources -}}
{{- $_ := set $spec "fleetAgentDeploymentCustomization" (dict "overrideResourceRequirements" .) -}}
{{- end -}}
{{- toJson $spec -}}
{{- end -}}

{{/*
The spec of a Job that speaks to Rancher. Scripts are files, so that they can be checked and run as they are; everything
they need comes by environment and mounted files, the token by a file alone. Takes root, script, restartPolicy, and more
variables of the environment as env.
*/}}
{{- define "rancher-cluster.jobSpec" -}}
{{- $values := .root.Values -}}
{{- $script := printf "%s\n%s" (.root.Files.Get "files/rancher.sh") (.root.Files.Get .script) -}}
template:
  metadata:
    labels:
      app.kubernetes.io/name: rancher-cluster
      app.kubernetes.io/instance: {{ .root.Release.Name | quote }}
  spec:
    restartPolicy: {{ .restartPolicy }}
    serviceAccountName: {{ .root.Release.Name | quote }}
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
          - name: RANCHER
            value: {{ $values.rancher.url | trimSuffix "/" | quote }}
          - name: CA
            value: {{ $values.rancher.ca | toJson }}
          - name: INSECURE
            value: {{ $values.insecure | quote }}
          - name: PROXY
            value: {{ ternary $values.httpProxy.address "" $values.httpProxy.enabled | quote }}
          - name: DIRECT
            value: {{ $values.httpProxy.noProxy | quote }}
          - name: CLUSTER
            value: {{ $values.clustername | quote }}
          - name: SPEC
            value: {{ include "rancher-cluster.spec" .root | quote }}
          - name: VCLUSTER
            value: {{ $values.vclusterReleaseName | quote }}
          - name: VCLUSTER_NAMESPACE
            value: {{ include "rancher-cluster.namespace" .root | quote }}
          - name: VCLUSTER_SERVER
            value: {{ $values.vclusterServer | quote }}
          - name: OWNER
            value: {{ ternary $values.createOwner.userPrincipalName "" $values.createOwner.enabled | quote }}
          - name: NAMESPACE
            value: {{ .root.Release.Namespace | quote }}
          - name: RELEASE
            value: {{ .root.Release.Name | quote }}
          {{- range $name, $value := .env }}
          - name: {{ $name }}
            value: {{ $value | quote }}
          {{- end }}
          - name: TOKEN_SECRET
            value: {{ printf "%s/%s" .root.Release.Namespace $values.rancher.existingSecret | quote }}
          - name: TOKEN_DIR
            value: /secrets/rancher
          - name: HOME
            value: /scratch
        resources:
          {{- toYaml $values.resources | nindent 10 }}
        securityContext:
          allowPrivilegeEscalation: false
          readOnlyRootFilesystem: true
          capabilities:
            drop: ["ALL"]
        volumeMounts:
          - name: token
            mountPath: /secrets/rancher
            readOnly: true
          - name: work
            mountPath: /scratch
    volumes:
      # Optional, so that a Secret that is made or mended later is waited for with a sentence in the log.
      - name: token
        secret:
          secretName: {{ $values.rancher.existingSecret | quote }}
          optional: true
          defaultMode: 0440
          items:
            - key: APITOKEN
              path: token
      # In memory: the vcluster's kubeconfig and Rancher's manifest, which holds the agent's token, lie there for a moment.
      - name: work
        emptyDir:
          medium: Memory
          sizeLimit: 32Mi
{{- end -}}

{{/* One that changes runs anew; `restored` is there to change. */}}
{{- define "rancher-cluster.registrationSpec" -}}
{{- $env := dict -}}
{{- with .Values.restored -}}
{{- $_ := set $env "RESTORED" . -}}
{{- end -}}
{{- include "rancher-cluster.jobSpec" (dict "root" . "script" "files/register.sh" "restartPolicy" "OnFailure" "env" $env) -}}
{{- end -}}

{{/* A Job's template cannot change, so a changed one is another Job. */}}
{{- define "rancher-cluster.registration" -}}
{{- $digest := include "rancher-cluster.registrationSpec" . | sha256sum | trunc 8 -}}
{{- printf "%s-%s" (.Release.Name | trunc 54 | trimSuffix "-") $digest -}}
{{- end -}}
