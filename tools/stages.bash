# Sourced by the scripts beside it: each stage of work says what it is in one line, and how long it
# took in another. stage_summary prints the whole list.

stage_names=()
stage_seconds=()

# stage <what it does> <command> [arguments...]: runs it; on failure names the stage and exits.
stage() {
  local name=$1 began=$SECONDS status=0
  shift
  printf '\n== %s\n' "$name"
  "$@" || status=$?
  local took=$((SECONDS - began))
  if [ "$status" -ne 0 ]; then
    printf '== FAILED after %d s: %s\n' "$took" "$name" >&2
    exit "$status"
  fi
  stage_names+=("$name")
  stage_seconds+=("$took")
  printf '== done in %d s: %s\n' "$took" "$name"
}

stage_summary() {
  local i
  printf '\n%8s  %s\n' seconds stage
  for i in "${!stage_names[@]}"; do
    printf '%8d  %s\n' "${stage_seconds[$i]}" "${stage_names[$i]}"
  done
  printf '%8d  in all\n' "$SECONDS"
}
