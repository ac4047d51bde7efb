# The functions that every bash script of a job finds (by BASH_ENV): they ask the supervisor over $MANYARM_FD.
# Written for bash 4.2 on, to work under `set -euo pipefail`, in subshells and in background jobs alike.

get_variable() {
  local REPLY
  __manyarm_string "${1-}"
  if ! __manyarm_ask "{\"do\":\"get_variable\",\"reply\":\"text\",\"name\":$REPLY}"; then
    printf 'get_variable: %s\n' "$REPLY" >&2
    return 1
  fi
  printf '%s' "$REPLY"
}

set_variable() {
  local REPLY name value secret=false
  if [[ ${3-} == --secret ]]; then secret=true; fi
  if [[ ${1-} == --secret ]]; then secret=true; shift; fi
  __manyarm_string "${1-}"; name=$REPLY
  __manyarm_string "${2-}"; value=$REPLY
  __manyarm_tell set_variable "\"name\":$name,\"value\":$value,\"secret\":$secret"
}

new_artifact() {
  local REPLY path=${1-} name
  if [[ $path != /* ]]; then path=$PWD/$path; fi
  __manyarm_string "${2-}"; name=$REPLY
  __manyarm_string "$path"
  __manyarm_tell new_artifact "\"path\":$REPLY,\"name\":$name"
}

progress() {
  local REPLY percent=${1-}
  if [[ ! $percent =~ ^[0-9]{1,3}$ ]]; then
    printf 'progress: PERCENT must be a number from 0 to 100\n' >&2
    return 1
  fi
  __manyarm_string "${2-}"
  __manyarm_tell progress "\"percent\":$((10#$percent)),\"message\":$REPLY"
}

warn() {
  local REPLY
  __manyarm_string "${1-}"
  __manyarm_tell warn "\"message\":$REPLY"
}

fail() {
  local REPLY
  __manyarm_string "${1-}"
  __manyarm_tell fail "\"message\":$REPLY" || :
  exit 1
}

# Sends one message of which only a refusal is of interest.
__manyarm_tell() {
  local REPLY
  if ! __manyarm_ask "{\"do\":\"$1\",\"reply\":\"text\",$2}"; then
    printf '%s: %s\n' "$1" "$REPLY" >&2
    return 1
  fi
}

# One question at a time, whoever asks: a byte in the pipe $MANYARM_LOCK is the right to ask. Lengths count bytes,
# hence the C locale. The answer is left in REPLY.
__manyarm_ask() {
  local LC_ALL=C
  local turn='' state='' size=0 length
  local in=${MANYARM_LOCK%% *} out=${MANYARM_LOCK##* }
  IFS= read -r -N 1 -t 10 -u "$in" turn || :
  printf -v length '\\x%02x\\x%02x\\x%02x\\x%02x' \
    $((${#1} >> 24 & 255)) $((${#1} >> 16 & 255)) $((${#1} >> 8 & 255)) $((${#1} & 255))
  REPLY='the supervisor does not answer'
  if printf "$length%s" "$1" >&"$MANYARM_FD" && IFS=' ' read -r -u "$MANYARM_FD" state size; then
    REPLY=
    if [[ $size != 0 ]]; then IFS= read -r -N "$size" -u "$MANYARM_FD" REPLY || :; fi
  fi
  printf . >&"$out" || :
  [[ $state == ok ]]
}

# Leaves its argument in REPLY as a JSON string. To write one that no message can hold would take long, and it is refused
# for its length anyhow.
__manyarm_string() {
  local LC_ALL=C
  local text=$1 code control escaped
  if (( ${#text} > 524288 )); then REPLY=\"$text\"; return; fi
  text=${text//\\/\\\\}
  text=${text//\"/\\\"}
  if [[ $text == *[[:cntrl:]]* ]]; then
    for code in {1..31}; do
      printf -v control '\\x%02x' "$code"
      printf -v control "$control"
      printf -v escaped '\\u%04x' "$code"
      text=${text//"$control"/"$escaped"}
    done
  fi
  REPLY=\"$text\"
}
