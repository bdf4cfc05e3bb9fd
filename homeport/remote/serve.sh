#!/bin/sh
# Start a model server on a laptop: when there is mains power, if that is asked for, and with a log
# that does not grow for ever.
#
# usage: serve.sh always|on-mains LOG|- PROGRAM [ARGUMENT...]
#
# LOG is a file that the server writes to, by whoever started this, and that nobody else rotates.

on_battery() {
  if command -v pmset >/dev/null 2>&1; then
    case $(pmset -g batt 2>/dev/null) in *"'Battery Power'"*) return 0 ;; esac
    return 1
  fi
  # Where the kernel knows of no mains, as on a desktop, there is nothing else than mains.
  found=1
  for supply in /sys/class/power_supply/*; do
    [ "$(cat "$supply/type" 2>/dev/null)" = Mains ] || continue
    [ "$(cat "$supply/online" 2>/dev/null)" = 0 ] || return 1
    found=0
  done
  return $found
}

rotate() {
  [ "$(wc -c <"$1" 2>/dev/null || echo 0)" -gt 5000000 ] || return 0
  # The server goes on writing to the same file, at its end.
  cp "$1" "$1.1" && : >"$1"
}

power=$1 log=$2
shift 2

if [ "$power" = on-mains ] && on_battery; then
  echo "homeport: waits for mains power (on_battery = False)"
  while on_battery; do sleep 10; done
fi
if [ "$log" != - ]; then
  rotate "$log"
  # Ends with the server: whoever started that ends what it leaves behind, and so does this.
  (while sleep 600 && kill -0 $$ 2>/dev/null; do rotate "$log"; done) </dev/null >/dev/null 2>&1 &
fi
# Its owner may have upgraded the program since the last deploy, and neither build knows the other's
# name for this (llama.cpp, PR 28334).
case " $* " in
  *" --no-mmap "*)
    program=$1
    if ! "$program" --help 2>&1 | grep -q -e --no-mmap; then
      for word do
        shift
        case $word in --no-mmap) set -- "$@" --load-mode none ;; *) set -- "$@" "$word" ;; esac
      done
    fi
    ;;
esac
exec "$@"
