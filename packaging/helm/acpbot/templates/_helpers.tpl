{{- define "acpbot.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- $name := default .Chart.Name .Values.nameOverride -}}
{{- if contains $name .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name $name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- define "acpbot.selectorLabels" -}}
app.kubernetes.io/name: {{ default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "acpbot.labels" -}}
{{ include "acpbot.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "acpbot.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}
{{ .repository }}@{{ .digest }}
{{- else -}}
{{ .repository }}:{{ default $.Chart.AppVersion .tag }}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The name of the Secret with the bot token; nothing where the chat is local. */ -}}
{{- define "acpbot.secret" -}}
{{- if .Values.discord -}}
{{- if and .Values.existingSecret .Values.botToken -}}
{{- fail "cannot choose the token: existingSecret and botToken are both set; leave one out" -}}
{{- else if .Values.existingSecret -}}
{{- .Values.existingSecret -}}
{{- else if .Values.botToken -}}
{{- include "acpbot.fullname" . -}}
{{- else -}}
{{- fail "cannot find the bot token: set existingSecret to a Secret that has it (kubectl create secret generic acpbot --from-file=discord-token), or botToken, or discord to null for a local chat" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{- /* The port of bind. */ -}}
{{- define "acpbot.probesPort" -}}
{{- $bind := .Values.management.probes.bind -}}
{{- if regexMatch "^(127[.]|localhost:|\\[(0*:)*:?0*1\\]:)" $bind -}}
{{- fail (printf "cannot probe %s: the kubelet does not reach a pod's loopback, and would restart it again and again; set management.probes.bind to 0.0.0.0:8090, or in an IPv6 cluster to [::]:8090" $bind) -}}
{{- end -}}
{{- regexFind "[0-9]+$" $bind -}}
{{- end -}}

{{- /* drain_seconds for running turns, grace_seconds for the agents (5 where unset), and 25 for a stubborn agent or a
last message to Discord. */ -}}
{{- define "acpbot.terminationGracePeriodSeconds" -}}
{{- $drain := dig "drain_seconds" 30 (default dict .Values.shutdown) -}}
{{- $grace := dig "grace_seconds" 5 (default dict .Values.pool) -}}
{{- add (ceil $drain) (ceil $grace) 25 -}}
{{- end -}}

{{- /* One value of TOML. JSON's strings and lists are TOML's too; all numbers are floats here, and acpbot does not
accept 10.0 as a whole number. */ -}}
{{- define "acpbot.tomlValue" -}}
{{- if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "acpbot.tomlValue" $item }}{{ end }}]
{{- else if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $item := . -}}
{{- $pairs = append $pairs (printf "%s = %s" (include "acpbot.tomlKey" $key) (include "acpbot.tomlValue" $item)) -}}
{{- end -}}
{ {{ join ", " $pairs }} }
{{- else if and (kindIs "float64" .) (eq (floor .) .) -}}
{{ printf "%.0f" . }}
{{- else -}}
{{ toRawJson . }}
{{- end -}}
{{- end -}}

{{- define "acpbot.tomlKey" -}}
{{- if regexMatch "^[A-Za-z0-9_-]+$" . }}{{ . }}{{ else }}{{ toRawJson . }}{{ end -}}
{{- end -}}

{{- /* A table of TOML and its subtables; called with (dict "path" "agents.default" "table" ...). */ -}}
{{- define "acpbot.tomlTable" -}}
{{- $path := .path }}
{{- $plain := dict }}
{{- $tables := dict }}
{{- range $key, $value := .table }}
{{- if kindIs "map" $value }}
{{- $_ := set $tables $key $value }}
{{- else if not (kindIs "invalid" $value) }}
{{- $_ := set $plain $key $value }}
{{- end }}
{{- end }}
{{- if or $plain (not $tables) }}
[{{ $path }}]
{{ range $key, $value := $plain }}{{ include "acpbot.tomlKey" $key }} = {{ include "acpbot.tomlValue" $value }}
{{ end }}
{{- end }}
{{- range $key, $value := $tables }}
{{- include "acpbot.tomlTable" (dict "path" (printf "%s.%s" $path (include "acpbot.tomlKey" $key)) "table" $value) }}
{{- end }}
{{- end -}}

{{- define "acpbot.config" -}}
# Made by Helm, from the values of the release.
{{- with .Values.default_agent }}
default_agent = {{ toRawJson . }}
{{- end }}
{{ with .Values.discord -}}
{{- include "acpbot.tomlTable" (dict "path" "discord" "table" (merge (dict "bot_token_file" "discord-token") .)) -}}
{{- end -}}
{{- range $name := list "agents" "pool" "permissions" "management" "reactions" "markdown" "store" "log" "shutdown" -}}
{{- with index $.Values $name -}}
{{- include "acpbot.tomlTable" (dict "path" $name "table" .) -}}
{{- end -}}
{{- end -}}
{{- range .Values.schedule }}

[[schedule]]
{{- range $key, $value := . }}
{{ $key }} = {{ toRawJson $value }}
{{- end }}
{{- end -}}
{{- end -}}
