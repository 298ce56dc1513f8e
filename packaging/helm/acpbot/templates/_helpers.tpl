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
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- $drain := dig "drain_seconds" 30 (default dict .Values.shutdown) -}}
{{- $grace := dig "grace_seconds" 5 (default dict .Values.pool) -}}
{{- add (ceil $drain) (ceil $grace) 25 -}}
{{- else -}}
{{- .Values.terminationGracePeriodSeconds -}}
{{- end -}}
{{- end -}}

{{- /* The startup probe. A new pod waits until the one before has ended, and then has a minute to start. */ -}}
{{- define "acpbot.startupProbe" -}}
{{- $probe := .Values.startupProbe -}}
{{- if kindIs "invalid" $probe.failureThreshold -}}
{{- $seconds := add (include "acpbot.terminationGracePeriodSeconds" . | int) 60 -}}
{{- $probe = merge (dict "failureThreshold" (ceil (divf $seconds $probe.periodSeconds))) (omit $probe "failureThreshold") -}}
{{- end -}}
{{- toYaml $probe -}}
{{- end -}}

{{- /* The agents as JSON: those of the values, else one without a model. A variable of secretEnv is one of inherit_env
too; for an agent in pods, the pods get it. */ -}}
{{- define "acpbot.agents" -}}
{{- $agents := dict -}}
{{- range $name, $agent := .Values.agents -}}
{{- if not (kindIs "invalid" $agent) -}}
{{- $own := omit $agent "secretEnv" -}}
{{- $secretEnv := default dict $agent.secretEnv -}}
{{- if eq (default "local" $agent.runtime) "kubernetes" -}}
{{- $pods := default dict $agent.kubernetes -}}
{{- if not $pods.context -}}
{{- $pods = merge (dict "namespace" (default (include "acpbot.agentNamespace" $) $pods.namespace)) $pods -}}
{{- if eq $pods.namespace $.Release.Namespace -}}
{{- fail (printf "cannot run the agent %s in the namespace %s: it is that of acpbot, whose Secrets and pod its rights would cover; set agents.%s.kubernetes.namespace to another" $name $pods.namespace $name) -}}
{{- end -}}
{{- end -}}
{{- with $secretEnv -}}
{{- $secrets := default list $pods.secrets -}}
{{- range $variable, $place := . -}}
{{- $secrets = append $secrets (printf "%s=%s/%s" $variable $place.name (default $variable $place.key)) -}}
{{- end -}}
{{- $pods = merge (dict "secrets" $secrets) $pods -}}
{{- end -}}
{{- $own = merge (dict "kubernetes" $pods) $own -}}
{{- else if $secretEnv -}}
{{- $own = merge (dict "inherit_env" (concat (default list $agent.inherit_env) (keys $secretEnv | sortAlpha) | uniq)) $own -}}
{{- end -}}
{{- $_ := set $agents $name $own -}}
{{- end -}}
{{- end -}}
{{- if not $agents -}}
{{- $agents = dict "default" (dict "command" "python3" "args" (list "-m" "acpbot.demo.agent")) -}}
{{- end -}}
{{- range $name, $agent := $agents -}}
{{- range $other, $in := $agents -}}
{{- if and (eq (default "local" $agent.runtime) "local") (eq (default "local" $in.runtime) "kubernetes") -}}
{{- fail (printf "cannot run the agent %s with the runtime local: it could read the API token with which the pods of %s are made; give it another runtime, or a release of its own" $name $other) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $agents -}}
{{- end -}}

{{- /* The namespace of agents' pods that the chart makes. */ -}}
{{- define "acpbot.agentNamespace" -}}
{{- default (printf "%s-agents" (include "acpbot.fullname" . | trunc 56 | trimSuffix "-")) .Values.agentPods.namespace -}}
{{- end -}}

{{- /* The namespaces of this cluster in which agents run, as JSON: {"names": [...]}. */ -}}
{{- define "acpbot.agentNamespaces" -}}
{{- $names := list -}}
{{- range include "acpbot.agents" . | fromJson -}}
{{- if and (eq (default "local" .runtime) "kubernetes") (not .kubernetes.context) -}}
{{- $names = append $names .kubernetes.namespace -}}
{{- end -}}
{{- end -}}
{{- dict "names" ($names | uniq | sortAlpha) | toJson -}}
{{- end -}}

{{- /* "true" where acpbot makes pods in this cluster, and needs a token of its API; else nothing. */ -}}
{{- define "acpbot.makesPods" -}}
{{- with (include "acpbot.agentNamespaces" . | fromJson).names -}}
true
{{- end -}}
{{- end -}}

{{- /* The variables of the container: those of extraEnv, and what the agents take from Secrets. */ -}}
{{- define "acpbot.env" -}}
{{- $variables := dict -}}
{{- $owners := dict -}}
{{- range $name, $agent := .Values.agents -}}
{{- $agent := default dict $agent -}}
{{- range $variable, $place := ternary dict $agent.secretEnv (eq (default "local" $agent.runtime) "kubernetes") -}}
{{- $place := dict "name" $place.name "key" (default $variable $place.key) -}}
{{- if and (hasKey $variables $variable) (ne (toJson $place) (toJson (index $variables $variable))) -}}
{{- fail (printf "cannot set %s: the agents %s and %s take it from different Secrets, and they share the environment of one pod" $variable (index $owners $variable) $name) -}}
{{- end -}}
{{- $_ := set $variables $variable $place -}}
{{- $_ := set $owners $variable $name -}}
{{- end -}}
{{- end -}}
{{- $listed := list -}}
{{- range .Values.extraEnv -}}
{{- if hasKey $variables .name -}}
{{- fail (printf "cannot set %s: it is in extraEnv and in secretEnv of the agent %s; leave one out" .name (index $owners .name)) -}}
{{- end -}}
{{- $listed = append $listed . -}}
{{- end -}}
{{- range $variable, $place := $variables -}}
{{- $listed = append $listed (dict "name" $variable "valueFrom" (dict "secretKeyRef" $place)) -}}
{{- end -}}
{{- with $listed -}}
{{- toYaml . -}}
{{- end -}}
{{- end -}}

{{- /* What acpbot can't put in force without a restart; the rest it reads again while it runs. */ -}}
{{- define "acpbot.needsRestart" -}}
{{- $needed := dict "chat" (ternary "discord" "local" (not (empty .Values.discord))) -}}
{{- range $table, $keys := .Files.Get "needs-restart.json" | fromJson -}}
{{- range $key := $keys -}}
{{- $value := get (default dict (index $.Values $table)) $key -}}
{{- if not (kindIs "invalid" $value) -}}
{{- $_ := set $needed (printf "%s.%s" $table $key) $value -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson $needed -}}
{{- end -}}

{{- /* "true" where the chart makes a service account; an account that may make pods is never the namespace's default. */ -}}
{{- define "acpbot.makesServiceAccount" -}}
{{- if and (or .Values.serviceAccount.create (include "acpbot.makesPods" .)) (not .Values.serviceAccountName) -}}
true
{{- end -}}
{{- end -}}

{{- /* The service account of the pod; nothing: the namespace's default. */ -}}
{{- define "acpbot.serviceAccount" -}}
{{- if .Values.serviceAccountName -}}
{{- .Values.serviceAccountName -}}
{{- else if include "acpbot.makesServiceAccount" . -}}
{{- include "acpbot.fullname" . -}}
{{- end -}}
{{- end -}}

{{- /* One value of TOML. JSON's strings and lists are TOML's too; all numbers are floats here, and acpbot does not
accept 10.0 as a whole number. */ -}}
{{- define "acpbot.tomlValue" -}}
{{- if kindIs "slice" . -}}
[{{ range $index, $item := . }}{{ if $index }}, {{ end }}{{ include "acpbot.tomlValue" $item }}{{ end }}]
{{- else if kindIs "map" . -}}
{{- $pairs := list -}}
{{- range $key, $item := . -}}
{{- if kindIs "invalid" $item -}}{{- continue -}}{{- end -}}
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
{{- include "acpbot.tomlTable" (dict "path" "agents" "table" (include "acpbot.agents" . | fromJson)) -}}
{{- range $name := list "pool" "permissions" "management" "reactions" "markdown" "store" "log" "shutdown" -}}
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
