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
{{- define "milepost.everybody" }}
    - ports:
        - {protocol: UDP, port: 53}
        - {protocol: TCP, port: 53}
    {{- with .telemetry }}
    {{- if .enabled }}{{ include "milepost.to" (list .to (list .port)) }}{{ end }}
    {{- end }}
{{- end }}
