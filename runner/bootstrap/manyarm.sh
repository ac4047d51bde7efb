# The functions that scripts for any POSIX shell find: each asks the supervisor by a program, which is in Python because
# no other tool is known to be there. What may be a secret goes to it by a pipe; `printf` is the shell's own.
# A script that one of them starts can read this file too: . "$MANYARM_TOOLS/manyarm.sh"

get_variable() {
  __manyarm get_variable "${1-}" </dev/null
}

set_variable() {
  case "${1-} ${3-}" in
  "--secret "*) printf %s "${3-}" | __manyarm set_variable "${2-}" - --secret ;;
  *" --secret") printf %s "${2-}" | __manyarm set_variable "${1-}" - --secret ;;
  *) printf %s "${2-}" | __manyarm set_variable "${1-}" - ;;
  esac
}

new_artifact() {
  __manyarm new_artifact "${1-}" "${2-}" </dev/null
}

progress() {
  printf %s "${2-}" | __manyarm progress "${1-}" -
}

warn() {
  printf %s "${1-}" | __manyarm warn -
}

fail() {
  printf %s "${1-}" | __manyarm fail - || :
  exit 1
}

__manyarm() {
  "$MANYARM_PYTHON" -I -S -B "$MANYARM_TOOLS/manyarm.py" "$@"
}
