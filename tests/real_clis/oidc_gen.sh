#!/bin/sh
# oidc-agent's generation of an account: its agent, which has the listener, is a daemon and no child of the command.
set -u
eval "$(/usr/bin/oidc-agent)" >&2
# It says where it listens a moment before it does.
tries=100
until /usr/bin/oidc-add --loaded >/dev/null 2>&1 || [ "$tries" -eq 0 ]; do
	sleep 0.1
	tries=$((tries - 1))
done
/usr/bin/oidc-gen --manual --flow=code --no-save --no-scheme --port=4242 --scope='openid offline_access' \
  --pw-env=OIDC_PASSWORD --confirm-yes --prompt=none "$@"
code=$?
/usr/bin/oidc-agent --kill >/dev/null
exit "$code"
