{{/* Rules of a NetworkPolicy: list of peers (empty: anybody), ports. */}}
{{- define "milepost.to" }}
    {{- $peers := index . 0 }}
    - ports:
        {{- range index . 1 }}
        - {protocol: TCP, port: {{ . }}}
        {{- end }}
      {{- with $peers }}
      to: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
{{- define "milepost.from" }}
    {{- $peers := index . 0 }}
    - ports:
        {{- range index . 1 }}
        - {protocol: TCP, port: {{ . }}}
        {{- end }}
      {{- with $peers }}
      from: {{- toYaml . | nindent 8 }}
      {{- end }}
{{- end }}
{{/* Where Kafka is: root. Brokers are told in the settings, so their ports need not be said again. */}}
{{- define "milepost.kafka" }}
{{- $kafka := .Values.networkPolicy.kafka }}
{{- $ports := list }}
{{- range splitList "," .Values.settings.kafka_bootstrap }}{{ $ports = append $ports (splitList ":" (trim .) | last) }}{{ end }}
{{- include "milepost.to" (list $kafka.to (empty $kafka.port | ternary (uniq $ports) (list $kafka.port))) }}
{{- end }}
{{- define "milepost.everybody" }}
    - ports:
        - {protocol: UDP, port: 53}
        - {protocol: TCP, port: 53}
    {{- with .telemetry }}
    {{- if .enabled }}{{ include "milepost.to" (list .to (list .port)) }}{{ end }}
    {{- end }}
{{- end }}
