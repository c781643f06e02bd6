{{/* Deployment, Service and budget of the api or the notifier: dict of root, name, part, ports (name to number),
     settings, probed (name of the port), drain (seconds after SIGTERM). */}}
{{- define "milepost.server" -}}
{{- $root := .root }}
{{- $name := printf "%s-%s" (include "milepost.name" $root) .name }}
{{- $which := list $root .name "" }}
{{- $settings := mergeOverwrite (include "milepost.settings" $root | fromYaml) (deepCopy .part.settings) .settings }}
{{- $secrets := include "milepost.secrets" (list $root $settings true) | fromYaml }}
apiVersion: apps/v1
kind: Deployment
metadata:
  name: {{ $name }}
  labels: {{- include "milepost.labels" $which | nindent 4 }}
spec:
  replicas: {{ .part.replicas }}
  strategy:
    rollingUpdate: {maxSurge: 1, maxUnavailable: 0}
  selector:
    matchLabels: {{- include "milepost.selector" $which | nindent 6 }}
  template:
    metadata:
      labels:
        {{- include "milepost.selector" $which | nindent 8 }}
        {{- with .part.podLabels }}{{ toYaml . | nindent 8 }}{{ end }}
      {{- with .part.podAnnotations }}
      annotations: {{- toYaml . | nindent 8 }}
      {{- end }}
    spec:
      serviceAccountName: {{ include "milepost.account" $root }}
      {{- include "milepost.pod" (list $root .part) | nindent 6 }}
      terminationGracePeriodSeconds: {{ add .part.leave (ceil .drain) 15 }}
      {{- include "milepost.spread" $which | trim | nindent 6 }}
      containers:
        - name: {{ .name }}
          image: {{ include "milepost.image" (list $root .name .part.image) }}
          imagePullPolicy: {{ $root.Values.image.pullPolicy }}
          env: {{- include "milepost.environment" (list $root $settings $secrets) | trim | nindent 12 }}
          ports:
            {{- range $port, $number := .ports }}
            - {name: {{ $port }}, containerPort: {{ $number }}}
            {{- end }}
            {{- if $root.Values.monitoring.enabled }}
            - {name: metrics, containerPort: 9464}
            {{- end }}
          lifecycle:
            preStop:
              sleep: {seconds: {{ .part.leave }}}
          {{- include "milepost.probes" (list .probed 3) | nindent 10 }}
          resources: {{- toYaml .part.resources | nindent 12 }}
          {{- include "milepost.confined" $root | nindent 10 }}
          {{- include "milepost.mounts" (list $root list) | nindent 10 }}
      {{- include "milepost.volumes" (list $root "64Mi" $secrets list) | nindent 6 }}
---
apiVersion: v1
kind: Service
metadata:
  name: {{ $name }}
  labels: {{- include "milepost.labels" $which | nindent 4 }}
spec:
  # Any of them serves any client: nothing sticks.
  sessionAffinity: None
  selector: {{- include "milepost.selector" $which | nindent 4 }}
  ports:
    {{- range $port, $number := .ports }}
    - {name: {{ $port }}, port: {{ $number }}, targetPort: {{ $port }}}
    {{- end }}
{{ include "milepost.budget" (list $name $which) }}
{{- end }}

{{/* List of name, (root, component, pool). */}}
{{- define "milepost.budget" -}}
{{- $which := index . 1 }}
{{- $budget := (index $which 0).Values.podDisruptionBudget }}
{{- if $budget.enabled }}
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata:
  name: {{ index . 0 }}
  labels: {{- include "milepost.labels" $which | nindent 4 }}
spec:
  maxUnavailable: {{ $budget.maxUnavailable }}
  # One that is not ready serves nobody: it does not hold up a machine that is to be emptied.
  unhealthyPodEvictionPolicy: AlwaysAllow
  selector:
    matchLabels: {{- include "milepost.selector" $which | nindent 6 }}
{{- end }}
{{- end }}
