{{- define "milepost.name" -}}
{{- if contains "milepost" .Release.Name }}{{ .Release.Name | trunc 40 | trimSuffix "-" }}{{ else }}{{ printf "%s-milepost" .Release.Name | trunc 40 | trimSuffix "-" }}{{ end }}
{{- end }}

{{/* Labels that select the pods of a part: list of root, component, pool (may be empty). */}}
{{- define "milepost.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: milepost
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- with index . 2 }}
milepost/pool: {{ . }}
{{- end }}
{{- end }}

{{- define "milepost.labels" -}}
{{- $root := index . 0 -}}
{{ include "milepost.selector" . }}
app.kubernetes.io/version: {{ $root.Values.image.tag | default $root.Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" $root.Chart.Name $root.Chart.Version | replace "+" "_" }}
{{- end }}

{{/* The image of a service: list of root, service, image of its own (may be empty). */}}
{{- define "milepost.image" -}}
{{- $image := (index . 0).Values.image -}}
{{- $name := printf "%smilepost-%s:%s" (empty $image.registry | ternary "" (printf "%s/" $image.registry)) (index . 1) ($image.tag | default (index . 0).Chart.AppVersion) -}}
{{ index . 2 | default $name }}
{{- end }}

{{/* Where clients reach us, as settings. */}}
{{- define "milepost.addresses" -}}
{{- $door := .Values.gateway.enabled | ternary .Values.gateway .Values.ingress -}}
{{- $s := and (not .Values.gateway.enabled) (not .Values.ingress.tlsSecret) | ternary "" "s" -}}
{{- $public := deepCopy .Values.public -}}
{{- if $door.enabled -}}
{{- if not $public.url }}{{ $_ := set $public "url" (printf "http%s://%s" $s $door.host) }}{{ end -}}
{{- if not $public.streamUrl }}{{ $_ := set $public "streamUrl" (printf "ws%s://%s/v1/stream" $s $door.host) }}{{ end -}}
{{- if and $door.eventsHost (not $public.eventsUrl) }}{{ $_ := set $public "eventsUrl" (printf "http%s://%s" $s $door.eventsHost) }}{{ end -}}
{{- end -}}
{{- $addresses := dict -}}
{{- range $name, $setting := dict "url" "url" "streamUrl" "stream_url" "eventsUrl" "events_url" -}}
{{- with get $public $name }}{{ $_ := set $addresses $setting . }}{{ end -}}
{{- end -}}
{{ toYaml $addresses }}
{{- end }}

{{/* A setting's value as a variable says it: lists with commas, and no number as 1e+06. */}}
{{- define "milepost.written" -}}
{{- if kindIs "slice" . }}{{ join "," . }}{{ else if and (kindIs "float64" .) (eq . (floor .)) }}{{ int64 . }}{{ else }}{{ . }}{{ end }}
{{- end }}

{{/* Secrets of a part, a map of setting to key of existingSecret: list of root, its settings, whether it serves clients. They
     are files: what is in a pod's environment is shown to whoever may look at the pod. */}}
{{- define "milepost.secrets" -}}
{{- $keys := (index . 0).Values.secretKeys -}}
{{- $secrets := dict "database_url" $keys.databaseUrl -}}
{{- if hasPrefix "SASL_" (get (index . 1) "kafka_security_protocol" | default "") }}{{ $_ := set $secrets "kafka_sasl_password" $keys.kafkaSaslPassword }}{{ end -}}
{{- if index . 2 -}}
{{- $secrets = merge $secrets (dict "redis_url" $keys.redisUrl "api_key" $keys.apiKey) -}}
{{- with $keys.tokenSecret }}{{ $_ := set $secrets "token_secret" . }}{{ end -}}
{{- with $keys.tokenSecretsOld }}{{ $_ := set $secrets "token_secrets_old" . }}{{ end -}}
{{- end -}}
{{ toYaml $secrets }}
{{- end }}

{{/* Variables: list of root, settings (a map), secrets (see above). */}}
{{- define "milepost.environment" -}}
{{- $root := index . 0 -}}
{{- range $name, $value := index . 1 }}
- name: MILEPOST_{{ $name | upper }}
  value: {{ include "milepost.written" $value | quote }}
{{- end }}
{{- range $name, $_ := index . 2 }}
- name: MILEPOST_{{ $name | upper }}_FILE
  value: /run/secrets/milepost/{{ $name }}
{{- end }}
{{- range $name, $value := $root.Values.environment }}
- name: {{ $name }}
  value: {{ $value | quote }}
{{- end }}
{{- end }}

{{/* Settings every service needs. */}}
{{- define "milepost.settings" -}}
{{- $_ := required "settings.kafka_bootstrap has to name Kafka's brokers, host:port with commas" .Values.settings.kafka_bootstrap -}}
{{- $all := dict "log_format" "json" -}}
{{- if .Values.monitoring.enabled }}{{ $_ := set $all "metrics_port" 9464 }}{{ end -}}
{{- $all = mergeOverwrite $all (deepCopy .Values.settings) (include "milepost.addresses" . | fromYaml | default dict) -}}
{{ toYaml $all }}
{{- end }}

{{/* What the pod of any part has: list of root, part's values, component, pool. */}}
{{- define "milepost.pod" -}}
{{- $root := index . 0 -}}
{{- $part := index . 1 -}}
automountServiceAccountToken: false
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  seccompProfile: {type: RuntimeDefault}
{{- with $root.Values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $part.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $part.affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{/* Spread over zones and machines, as far as that can be: list of root, component, pool. */}}
{{- define "milepost.spread" -}}
{{- if (index . 0).Values.topologySpread.enabled }}
topologySpreadConstraints:
  {{- $selector := include "milepost.selector" . }}
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- $selector | nindent 8 }}
    matchLabelKeys: [pod-template-hash]
  {{- end }}
{{- end }}
{{- end }}

{{- define "milepost.account" -}}
{{ .Values.serviceAccount.name | default (include "milepost.name" .) }}
{{- end }}

{{- define "milepost.confined" -}}
securityContext:
  runAsNonRoot: true
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
  seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The folders a container sees, /tmp, secrets and certificates: list of root, names of Secrets for handlers. */}}
{{- define "milepost.mounts" -}}
{{- $certificates := (index . 0).Values.certificates -}}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  - name: milepost-secrets
    mountPath: /run/secrets/milepost
    readOnly: true
  {{- range index . 1 }}
  - name: secret-{{ . }}
    mountPath: /run/secrets/{{ . }}
    readOnly: true
  {{- end }}
  {{- if or $certificates.secret $certificates.configMap }}
  - name: certificates
    mountPath: {{ $certificates.mountPath }}
    readOnly: true
  {{- end }}
{{- end }}

{{/* List of root, size of /tmp, secrets (a map of setting to key), names of Secrets for handlers. The group may read them: it is
     the one of the pod. */}}
{{- define "milepost.volumes" -}}
{{- $root := index . 0 -}}
{{- $certificates := $root.Values.certificates -}}
volumes:
  - name: tmp
    emptyDir: {sizeLimit: {{ index . 1 }}}
  - name: milepost-secrets
    secret:
      secretName: {{ required "existingSecret has to name the Secret with the database's URL, Redis' URL and the API key" $root.Values.existingSecret }}
      defaultMode: 0440
      items:
        {{- range $name, $key := index . 2 }}
        - {key: {{ $key }}, path: {{ $name }}}
        {{- end }}
  {{- range index . 3 }}
  - name: secret-{{ . }}
    secret: {secretName: {{ . }}, defaultMode: 0440}
  {{- end }}
  {{- if $certificates.secret }}
  - name: certificates
    secret: {secretName: {{ $certificates.secret }}, defaultMode: 0440}
  {{- else if $certificates.configMap }}
  - name: certificates
    configMap: {name: {{ $certificates.configMap }}}
  {{- end }}
{{- end }}

{{/* Probes of a service: the port's name. A process that cannot answer for half a minute is started again; one that only
     misses a server is left alone (/livez asks nobody). */}}
{{- define "milepost.probes" -}}
startupProbe:
  httpGet: {path: /livez, port: {{ index . 0 }}}
  periodSeconds: 2
  timeoutSeconds: 5
  failureThreshold: 60
livenessProbe:
  httpGet: {path: /livez, port: {{ index . 0 }}}
  periodSeconds: 10
  timeoutSeconds: 5
  failureThreshold: {{ index . 1 }}
readinessProbe:
  httpGet: {path: /readyz, port: {{ index . 0 }}}
  periodSeconds: 5
  timeoutSeconds: 5
  failureThreshold: 2
{{- end }}

{{/* The pools, each with what all have: name to values. */}}
{{- define "milepost.pools" -}}
{{- $pools := dict -}}
{{- range $name, $own := .Values.workers -}}
{{- if not (kindIs "invalid" $own) -}}
{{- $_ := set $pools $name (mergeOverwrite (deepCopy $.Values.workerDefaults) (deepCopy $own)) -}}
{{- end -}}
{{- end -}}
{{ toYaml $pools }}
{{- end }}
