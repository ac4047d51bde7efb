# Ends the version that ran here and starts this one; runs in the folder that was just made current.
set -euo pipefail
home=$(get_variable InstallTo)
former=$(cat "$home/storefront.pid" 2>/dev/null || echo none)
# A pid may belong to somebody else by now, and one that has ended stays in /proc until its parent looks.
runs() { grep -aqs "$home/current/app.py" "/proc/$former/cmdline"; }
if runs && kill "$former"; then
    while runs; do sleep 0.02; done
    echo "ended the former version"
fi
progress 50 "starting storefront $(get_variable Manyarm.Release.Number)"
setsid python3 "$home/current/app.py" >"$home/storefront.log" 2>&1 </dev/null &
echo $! >"$home/storefront.pid"
port=$(get_variable server:port)
for _ in $(seq 500); do
    if (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
        echo "storefront listens on port $port"
        set_variable Url "http://127.0.0.1:$port/"
        exit 0
    fi
    sleep 0.02
done
cat "$home/storefront.log"
fail "storefront did not listen on port $port within ten seconds"
